"""Our merges against mergekit's on the same models and the same YAML: whole processes, start-up included.

    python benchmarks/merge/run.py --mergekit PATH/TO/mergekit-yaml --folder SCRATCH [--config config.json]

Writes `results-SIZE.json`: wall seconds of every repeat, medians, CPU seconds, peak anonymous memory, ratios, the
limit (reading all inputs and copying one output), and the machine's load before and after. Models are made in SCRATCH
if they are not there. Without --mergekit only ours is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models import write_models

from dtm.merge.kernels import kernels

HERE = Path(__file__).parent
OURS = [Path(sys.executable).with_name("dtm"), "merge"]


def merge_file(folder: Path, method: str, parameters: dict[str, Any], count: int = 4) -> str:
    """Sub-models (of 4 in turn) and their base, in mergekit's words, which both read."""
    own = {"weight": 1.0, **parameters} if method not in ("sce", "model_stock") else parameters
    content = {
        "merge_method": method,
        "models": [{"model": str(folder / f"m{k % 4}"), "parameters": own} for k in range(count)],
        "dtype": "bfloat16",
    }
    if method != "linear":
        content["base_model"] = str(folder / "base")
    return json.dumps(content)


def adapter_file(folder: Path) -> str:
    """4 adapters merged into a dense model, in our words."""
    return json.dumps(
        {
            "base": str(folder / "base"),
            "method": "linear",
            "models": [str(folder / f"a{k}") for k in range(4)],
        }
    )


def peer_adapter_file(folder: Path) -> str:
    """The same in mergekit's words: MODEL+ADAPTER."""
    models = [{"model": f"{folder}/base+{folder}/a{k}", "parameters": {"weight": 1.0}} for k in range(4)]
    return json.dumps({"merge_method": "linear", "models": models, "dtype": "bfloat16"})


def timed(command: list[Any], output: Path | None) -> tuple[float, float, int]:
    """A process's wall seconds, its CPU seconds, and the peak of its anonymous memory in bytes (every 10 ms)."""
    if output is not None:
        shutil.rmtree(output, ignore_errors=True)
    os.sync()  # the last output's pages are not written out on this one's time
    start, before, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN), 0
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.01)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(
            f"{command} failed: {process.stderr.read().decode()[-800:] if process.stderr else ''}"
        )
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, peak


def anonymous(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def repeated(command: list[Any], output: Path | None, times: int) -> dict[str, Any]:
    runs = [timed(command, output) for _ in range(times)]
    seconds, cpu = [round(run[0], 2) for run in runs], [round(run[1], 2) for run in runs]
    return {"seconds": seconds, "median": statistics.median(seconds), "cpu_seconds": statistics.median(cpu),
            "peak_mb": round(max(run[2] for run in runs) / 1e6)}  # fmt: skip


def limit(folder: Path, inputs: list[str], times: int) -> dict[str, Any]:
    """Reading the inputs, and copying one output's worth: what no merge can be faster than."""
    files = [next((folder / name).glob("*.safetensors")) for name in inputs]
    read = repeated(["cat", *files], None, times)
    copy = repeated(
        ["cp", folder / "base/model.safetensors", folder / "copy.safetensors"], folder / "nothing", times
    )
    return {"read": read["median"], "copy": copy["median"], "sum": round(read["median"] + copy["median"], 2),
            "cpu_seconds": round(read["cpu_seconds"] + copy["cpu_seconds"], 2)}  # fmt: skip


def compare(
    folder: Path, ours: str, theirs: str | None, config: dict[str, Any], peer: Path | None
) -> dict[str, Any]:
    path, output = folder / "merge.yaml", folder / "output"
    path.write_text(ours)
    found = {"limit": limit(folder, ["m0", "m1", "m2", "m3"], config["repeats"]),
             "ours": repeated([*OURS, path, output], output, config["repeats"])}  # fmt: skip
    if peer is not None and theirs is not None and config["peer_repeats"]:
        path.write_text(theirs)
        found["mergekit"] = repeated(
            [peer, path, output, "--lazy-unpickle", "--lora-merge-cache", folder / "cache"],
            output,
            config["peer_repeats"],
        )
        found["times_faster"] = round(found["mergekit"]["median"] / found["ours"]["median"], 1)
        found["times_less_cpu"] = round(found["mergekit"]["cpu_seconds"] / found["ours"]["cpu_seconds"], 1)
        found["share_of_its_memory"] = round(found["ours"]["peak_mb"] / found["mergekit"]["peak_mb"], 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mergekit", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=HERE / "config.json")
    arguments = parser.parse_args()
    config = json.loads(arguments.config.read_text())
    folder = arguments.folder / config["size"]
    if not (folder / "m3").exists():
        write_models(folder, config["size"], adapters=config["adapters"])
    results: dict[str, Any] = {
        "config": config,
        "machine": {
            "cores": len(os.sched_getaffinity(0)), "processor": platform.machine(), "load_before": os.getloadavg(),
            "python": platform.python_version(), "numpy": version("numpy"), "kernels": kernels().__name__,
        },
        "commit": commit(), "methods": {},
    }  # fmt: skip
    for method, parameters in config["methods"].items():
        text = merge_file(folder, method, parameters)
        found = results["methods"][method] = compare(folder, text, text, config, arguments.mergekit)
        found["times_the_limit"] = round(found["ours"]["median"] / found["limit"]["sum"], 2)
        print(method, json.dumps(found), flush=True)
        _write(results)
    if config["adapters"]:
        found = compare(folder, adapter_file(folder), peer_adapter_file(folder), config, arguments.mergekit)
        found["times_a_copy"] = round(found["ours"]["median"] / found["limit"]["copy"], 2)
        results["adapters"] = found
        print("adapters", json.dumps(found), flush=True)
    results["peak_mb_by_models"] = memory(folder, config.get("counts", {}))
    results["machine"]["load_after"] = os.getloadavg()
    _write(results)


def _write(results: dict[str, Any]) -> None:
    """What is known so far: a run that is stopped keeps it."""
    path = HERE / f"results-{results['config']['size']}.json"
    path.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


def commit() -> str | None:
    """The commit that is measured, with a + behind it where the tree is not clean."""
    try:
        command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        told = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def memory(folder: Path, counts: dict[str, list[int]]) -> dict[str, dict[str, int]]:
    """Peak anonymous memory of our command, in MB, by method and number of sub-models."""
    path, output = folder / "merge.yaml", folder / "output"
    found: dict[str, dict[str, int]] = {}
    for method, numbers in counts.items():
        for count in numbers:
            path.write_text(merge_file(folder, method, {"density": 0.5} if method == "ties" else {}, count))
            found.setdefault(method, {})[str(count)] = repeated([*OURS, path, output], output, 1)["peak_mb"]
    return found


if __name__ == "__main__":
    main()
