"""Our ways to part an embedding against scikit-learn's, faiss's and k-means-constrained's: a fresh process each.

    python benchmarks/disperse/run.py EMBEDDING.npy [SIZE ...]

Methods take turns, repeat after repeat, so that what else the machine does falls on all. Writes `results-SIZE.json`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MEDIANS = ("seconds", "cpu_seconds")
PEERS = ("numpy", "scikit-learn", "faiss-cpu", "k-means-constrained", "ortools")


def once(file: Path, rows: str, k: str, method: str, limit: float) -> dict[str, Any]:
    """What `measure.py` prints, or why it printed nothing."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "passive",
    }
    command = [sys.executable, str(HERE / "measure.py"), str(file), rows, k, method]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done in {limit:.0f} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["killed"])[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """All repeats' seconds and their medians; portions are the same each time, memory is the largest."""
    if failed := [run for run in runs if "failed" in run]:
        return failed[0]
    medians = {name: round(statistics.median(run[name] for run in runs), 2) for name in MEDIANS}
    peaks = {name: max(run[name] for run in runs) for name in ("peak_mb", "beyond_mb")}
    repeats = {"repeats": [run["seconds"] for run in runs], "loads": [run["load"] for run in runs]}
    return {**runs[-1], **medians, **peaks, **repeats}


def commit() -> str | None:
    """The commit that is measured, with a + behind it where the tree is not clean."""
    try:
        command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        told = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def machine() -> dict[str, Any]:
    found = {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.machine(),
        "python": platform.python_version(),
    }
    for package in PEERS:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:
            found[package] = None
    return found


def main(file: Path, sizes: list[str]) -> None:
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    for size in sizes or config["sizes"]:
        results: dict[str, Any] = {"rows": int(size), "dimensions": config["dimensions"], "machine": machine(),
                                   "commit": commit(), "by_k": {}}  # fmt: skip
        for k, methods in config["sizes"][size].items():
            runs: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
            for _ in range(config["repeats"]):
                for method, found in runs.items():
                    if not any("failed" in run for run in found):
                        found.append(once(file, size, k, method, config["limit_seconds"]))
                        print(size, k, method, found[-1], flush=True)
            results["by_k"][k] = {method: summary(found) for method, found in runs.items()}
            target = HERE / f"results-{size}.json"
            target.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
