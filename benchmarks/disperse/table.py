"""The tables of README.md, from the results beside it: `python benchmarks/disperse/table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def read(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def methods(results: dict[str, Any], k: str) -> str:
    """One row a method: seconds, memory, and how good and how even its portions are."""
    lines = [
        "| method | s | CPU s | peak MB | of that beyond the embedding | inertia | mean cosine "
        "| largest, smallest portion |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in read("config")["sizes"][str(results["rows"])][k]:
        run = results["by_k"][k][name]
        if "failed" in run:
            lines.append(f"| {name} | {run['failed']} | | | | | | |")
            continue
        cells = [name, _three(run["seconds"]), _three(run["cpu_seconds"]), run["peak_mb"], run["beyond_mb"],
                 f"{run['inertia']:.0f}", f"{run['cosine']:.4f}",
                 f"{run['largest']:.3f}, {run['smallest']:.3f}"]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def by_k(every: list[dict[str, Any]]) -> str:
    """Balanced k-means by rows and K."""
    lines = ["| rows | K | s | CPU s | peak MB | inertia | mean cosine |", "|---|---|---|---|---|---|---|"]
    for results in every:
        for k in sorted(results["by_k"], key=int):
            run = results["by_k"][k]["kmeans"]
            if "failed" in run:
                lines.append(f"| {results['rows']:,} | {k} | {run['failed']} | | | | |")
                continue
            cells = [f"{results['rows']:,}", k, _three(run["seconds"]), _three(run["cpu_seconds"]), run["peak_mb"],
                     f"{run['inertia']:.0f}", f"{run['cosine']:.4f}"]  # fmt: skip
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def optimum(results: dict[str, Any]) -> str:
    """The same centres, filled evenly by each solver."""
    lines = ["| rows | solver | s | total cosine, in 2^-32 | below the optimum |", "|---|---|---|---|---|"]
    for run in results["runs"]:
        best = max(one["total"] for one in run["solvers"].values())
        for name, one in run["solvers"].items():
            cells = [f"{run['rows']:,}", name, one["seconds"], one["total"], best - one["total"]]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def step(results: dict[str, Any]) -> str:
    """What each part of the dispersing step takes."""
    lines = ["| part | s | CPU s | peak MB | of that in no file |", "|---|---|---|---|---|"]
    for name in ("embedding", "portions", "card", "figures", "files"):
        one = results["phases"][name]
        lines.append(
            f"| {name} | {one['seconds']} | {one['cpu_seconds']} | {one['peak_mb']} | {one['anonymous_mb']} |"
        )
    total = {key: sum(one[key] for one in results["phases"].values()) for key in ("seconds", "cpu_seconds")}
    peaks = [max(one[key] for one in results["phases"].values()) for key in ("peak_mb", "anonymous_mb")]
    lines.append(f"| all | {total['seconds']:.1f} | {total['cpu_seconds']:.1f} | {peaks[0]} | {peaks[1]} |")
    return "\n".join(lines) + "\n"


def tables() -> list[str]:
    every = [read(path.stem) for path in sorted(HERE.glob("results-*.json"), key=_rows)]
    return [
        *(methods(results, "8") for results in every), by_k(every), optimum(read("optimum")),
        *(step(read(path.stem)) for path in sorted(HERE.glob("step-*.json"), key=_rows)),
    ]  # fmt: skip


def _rows(path: Path) -> int:
    return int(path.stem.split("-")[1])


def _three(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


if __name__ == "__main__":
    print("\n".join(tables()))
