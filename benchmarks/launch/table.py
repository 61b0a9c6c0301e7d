"""The tables of README.md, from the results beside it: `python benchmarks/launch/table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEYS = {
    "wall": "s", "loading": "of that loading, s", "cpu": "CPU s", "steps": "steps",
    "driver_cpu_percent": "driver's CPU, % of a core",
}  # fmt: skip
COLUMNS = {
    "launcher_start": "launcher and worker start", "new_to_first_step": "new worker to first step",
    "new_to_end": "to the end", "kept_to_first_step": "kept worker to first step", "kept_to_end": "to the end",
    "kept_driver_cpu_percent": "driver's CPU, % of a core",
}  # fmt: skip


def whole(part: dict[str, Any]) -> str:
    """Medians of each way to train on the same rows, and the ratios of repeats made in turn."""
    lines = [f"| K = {part['config']['k']}, {part['config']['rows']} rows | {' | '.join(KEYS.values())} |",
             "|---|" + "---|" * len(KEYS)]  # fmt: skip
    for name, medians in part["medians"].items():
        lines.append(f"| {name} | {' | '.join(_told(medians.get(key)) for key in KEYS)} |")
    lines += ["", "| ratio, repeat by repeat | median | each |", "|---|---|---|"]
    for name, ratio in part.items():
        if isinstance(ratio, dict) and "each" in ratio:
            lines.append(f"| {name} | {ratio['median']} | {', '.join(map(str, ratio['each']))} |")
    return "\n".join(lines) + "\n"


def submodel(part: dict[str, Any]) -> str:
    """Seconds of a sub-model that does next to nothing, by launcher: what launching costs."""
    lines = [f"| s | {' | '.join(COLUMNS.values())} |", "|---|" + "---|" * len(COLUMNS)]
    lines += [
        f"| {name} | {' | '.join(_told(part[name][key]) for key in COLUMNS)} |" for name in ("local", "ray")
    ]
    return "\n".join(lines) + "\n"


def store(part: dict[str, Any]) -> str:
    """Milliseconds an operation."""
    names = list(part["milliseconds"])
    return (f"| ms an operation, {part['artifacts']:,} artifacts | {' | '.join(names)} |\n|---|{'---|' * len(names)}\n"
            f"| | {' | '.join(_told(part['milliseconds'][name]) for name in names)} |\n")  # fmt: skip


def _told(value: float | None) -> str:
    return "" if value is None else str(value)


TABLES = {"whole": whole, "submodel": submodel, "store": store}


def tables(results: dict[str, Any]) -> list[str]:
    """All tables that there are results for."""
    return [make(results[name]) for name, make in TABLES.items() if name in results]


if __name__ == "__main__":
    print("\n".join(tables(json.loads((HERE / "results.json").read_text(encoding="utf-8")))))
