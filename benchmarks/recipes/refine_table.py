"""The tables of self_refine.md and demorecon.md, from results/: `python benchmarks/recipes/refine_table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RATE = "prefer.args.learning_rate"
MARKS = {"better": " ▲", "worse": " ▼", "screened": " ·"}
STUDIES = ("self_refine", "demorecon")

Results = dict[str, Any]


def table(results: Results) -> str:
    """One row an arm: the rate of its second phase, steps and tokens spent, and scores in percent."""
    groups = [one["group"] for one in results["benchmarks"] if one["task"]]
    rows = [["base", "", "", "0", "0", *(_percent(results["base"]["scores"], one) for one in groups)]]
    for arm in results["arms"]:
        rate = (arm["point"] or {}).get(RATE)
        rows.append([
            arm["name"], str(len(arm["seeds"])), "" if rate is None else f"{rate:g}", f"{arm['steps']:,.0f}",
            f"{arm['tokens']:,.0f}", *(_percent(arm["scores"], one) for one in groups),
        ])  # fmt: skip
    return _markdown(["arm", "seeds", "rate", "steps", "tokens", *groups], rows)


def differences(results: Results) -> str:
    """One row an arm: its scores minus those of the arm that all are compared with, in points, with 95 % intervals."""
    groups = [one["group"] for one in results["benchmarks"]]
    against = results["against"]
    rows = []
    for arm in results["arms"]:
        if arm["name"] != against:
            rows.append([arm["name"], *(_difference(results, arm["name"], against, one) for one in groups)])
    return _markdown([f"arm - {against}", *groups], rows)


def grid(results: Results) -> str:
    """The dev score of every arm that was tuned at every rate, in percent; the chosen one is bold."""
    own = [arm for arm in results["arms"] if arm["grid"] and arm["grid"]["tuned_as"] == arm["name"]]
    rates = [point["values"][RATE] for point in own[0]["grid"]["points"]]
    rows = []
    for arm in own:
        cells = []
        for place, point in enumerate(arm["grid"]["points"]):
            text = "failed" if point["score"] is None else f"{100 * point['score']:.1f}"
            cells.append(f"**{text}**" if place == arm["grid"]["chosen"] else text)
        rows.append([arm["name"], *cells])
    return _markdown(["arm", *(f"{rate:g}" for rate in rates)], rows)


def _percent(scores: list[dict[str, Any]], group: str) -> str:
    return next(f"{100 * row['value']:.1f}" for row in scores if row["group"] == group)


def _difference(results: Results, arm: str, against: str, group: str) -> str:
    for row in results["comparisons"]:
        if (row["arm"], row["against"], row["group"]) == (arm, against, group):
            low, high = 100 * row["low"], 100 * row["high"]
            return f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]{MARKS.get(row['verdict'], '')}"
    return ""


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    told = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([told[0], f"|{'---|' * len(head)}", *told[1:]]) + "\n"


TABLES = (table, differences, grid)


def read(name: str) -> Results:
    """The kept study.json of that name."""
    return json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    for name in STUDIES:
        if (HERE / "results" / f"{name}.json").exists():
            for make in TABLES:
                print(f"{name}: {make.__doc__}\n\n{make(read(name))}")
