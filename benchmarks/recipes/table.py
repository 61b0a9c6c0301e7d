"""The tables of README.md, from the results beside it: `python benchmarks/recipes/table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MARKS = {"better": " ▲", "worse": " ▼", "screened": " ·"}
MEANS = ("gains", "costs")
STUDIES = ("phased", "dual", "self_refine", "demorecon")
AGAIN = {
    "phased_321": "phased"
}  # `dtm study phased.yaml -s against=phased-3-2-1`: the same runs, compared with another arm

Results = dict[str, Any]


def read(name: str) -> Results:
    """The kept study.json of that name."""
    return json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))


def done() -> list[str]:
    """The studies whose results are here."""
    return [name for name in STUDIES if (HERE / "results" / f"{name}.json").exists()]


def tables(results: Results) -> list[str]:
    """All tables of a study: scores, differences, and the dev scores of rates if one was chosen."""
    return [table(results), differences(results), *([grid(results)] if _tuned(results) else [])]


def table(results: Results) -> str:
    """One row an arm: its rate if it was chosen, steps and tokens of all its trainings, and scores in percent."""
    groups = groups_of(results)
    tuned = bool(_tuned(results))
    head = ["arm", "seeds", *(["rate"] if tuned else []), "steps", "tokens", *groups]
    rows = [["base", "", *([""] if tuned else []), "0", "0", *_percent(results["base"]["scores"], groups)]]
    for arm in results["arms"]:
        rate = next(iter((arm["point"] or {}).values()), None)
        rows.append([
            arm["name"], str(len(arm["seeds"])), *(["" if rate is None else f"{rate:g}"] if tuned else []),
            f"{arm['steps']:,.0f}", f"{arm['tokens']:,.0f}", *_percent(arm["scores"], groups),
        ])  # fmt: skip
    return _markdown(head, rows)


def differences(results: Results) -> str:
    """One row an arm: its scores minus those of the arm that all are compared with, in points, with 95 % intervals."""
    groups = groups_of(results)
    against = results["against"]
    rows = [
        [arm["name"], *(_difference(results, arm["name"], against, one) for one in groups)]
        for arm in results["arms"]
        if arm["name"] != against
    ]
    return _markdown([f"arm - {against}", *groups], rows)


def grid(results: Results) -> str:
    """The dev score of every arm that was tuned at every rate, in percent; the chosen one is bold."""
    own = _tuned(results)
    rates = [next(iter(point["values"].values())) for point in own[0]["grid"]["points"]]
    rows = []
    for arm in own:
        cells = []
        for place, point in enumerate(arm["grid"]["points"]):
            text = "failed" if point["score"] is None else f"{100 * point['score']:.1f}"
            cells.append(f"**{text}**" if place == arm["grid"]["chosen"] else text)
        rows.append([arm["name"], *cells])
    return _markdown(["dev, by rate", *(f"{rate:g}" for rate in rates)], rows)


def groups_of(results: Results) -> list[str]:
    """The tasks, and the means of those that the study's question is about."""
    scored = [row["group"] for row in results["base"]["scores"]]
    return [
        *(one["task"] for one in results["benchmarks"] if one["task"]),
        *(one for one in MEANS if one in scored),
    ]


def real(name: str) -> str:
    """One row a model of a run on real rows: what it took, and its scores in percent with 95 % intervals."""
    results = json.loads((HERE / "real" / "results" / f"{name}.json").read_text(encoding="utf-8"))["results"]
    columns: dict[tuple[str, str], None] = {}
    cells: dict[tuple[str, str, str], str] = {}
    for row in results["scores"]:
        if row["metric"] != "acc_norm":
            columns[row["task"], row["metric"]] = None
            low, high = 100 * row["low"], 100 * row["high"]
            cells[row["model"], row["task"], row["metric"]] = (
                f"{100 * row['value']:.1f} [{low:.1f}, {high:.1f}]"
            )
    rows = [
        [
            one["name"],
            str(one["steps"]),
            f"{one['tokens']:,}",
            *(cells.get((one["name"], *key), "") for key in columns),
        ]
        for one in results["models"]
    ]
    return _markdown(["model", "steps", "tokens", *(f"{task} ({metric})" for task, metric in columns)], rows)


def real_done() -> list[str]:
    """The runs on real rows whose results are here."""
    return sorted(path.stem for path in (HERE / "real" / "results").glob("*.json"))


def _tuned(results: Results) -> list[dict[str, Any]]:
    """The arms that have a grid of their own."""
    return [arm for arm in results["arms"] if arm["grid"] and arm["grid"]["tuned_as"] == arm["name"]]


def _percent(scores: list[dict[str, Any]], groups: list[str]) -> list[str]:
    found = {row["group"]: row["value"] for row in scores}
    return [f"{100 * found[group]:.1f}" if group in found else "" for group in groups]


def _difference(results: Results, arm: str, against: str, group: str) -> str:
    for row in results["comparisons"]:
        if (row["arm"], row["against"], row["group"]) == (arm, against, group):
            low, high = 100 * row["low"], 100 * row["high"]
            return f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]{MARKS.get(row['verdict'], '')}"
    return ""


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    told = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([told[0], f"|{'---|' * len(head)}", *told[1:]]) + "\n"


if __name__ == "__main__":
    for study in done():
        print(f"## {study}\n\n" + "\n".join(tables(read(study))))
    for name in AGAIN:
        print(f"## {name}\n\n{differences(read(name))}")
    for name in real_done():
        print(f"## real {name}\n\n{real(name)}")
