"""The tables of README.md, from the results beside it: `python benchmarks/recipes/table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MARKS = {"better": " ▲", "worse": " ▼", "screened": " ·"}
STUDIES = {  # by study: the groups whose differences are told, each with the arm it is compared with
    "phased": ("gains", "mean"),
    "dual": ("gains", "costs"),
}

Results = dict[str, Any]


def read(name: str) -> Results:
    return json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))


def done() -> list[str]:
    """The studies whose results are here."""
    return [name for name in STUDIES if (HERE / "results" / f"{name}.json").exists()]


def table(results: Results) -> str:
    """One row an arm: steps, scores in percent, and differences in points with 95 % intervals."""
    tasks = [one["task"] for one in results["benchmarks"] if one["task"]]
    groups, against = STUDIES[results["study"]], results["against"]
    head = ["arm", "seeds", "steps", *tasks, *groups, *(f"{group} - {against}" for group in groups)]
    rows = [["base", "", "0", *_cells(results["base"]["scores"], [*tasks, *groups]), *[""] * len(groups)]]
    for arm in results["arms"]:
        cells = [
            arm["name"],
            str(len(arm["seeds"])),
            f"{arm['steps']:,.0f}",
            *_cells(arm["scores"], [*tasks, *groups]),
        ]
        rows.append([*cells, *(_difference(results, arm["name"], against, group) for group in groups)])
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _cells(scores: list[dict[str, Any]], groups: list[str]) -> list[str]:
    found = {row["group"]: row["value"] for row in scores}
    return [f"{100 * found[group]:.1f}" if group in found else "" for group in groups]


def _difference(results: Results, arm: str, against: str, group: str) -> str:
    for row in results["comparisons"]:
        if (row["arm"], row["against"], row["group"]) == (arm, against, group):
            low, high = 100 * row["low"], 100 * row["high"]
            return f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]{MARKS.get(row['verdict'], '')}"
    return ""


if __name__ == "__main__":
    for study in done():
        print(f"## {study}\n\n{table(read(study))}\n")
