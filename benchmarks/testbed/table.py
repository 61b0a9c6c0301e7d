"""The tables of README.md, from the results beside it: `python benchmarks/testbed/table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MEANS = ("gains", "costs", "mean")
MARKS = {"better": " ▲", "worse": " ▼", "screened": " ·"}
RATE = "train.args.learning_rate"

Results = dict[str, Any]


def table(results: Results) -> str:
    """One row an arm: its rate, steps, scores in percent, and its mean against vanilla's, the peak's and the base's."""
    tasks = [one["task"] for one in results["benchmarks"] if one["task"]]
    against = (results["against"], "peak", "base")
    head = [
        "arm",
        "seeds",
        "rate",
        "steps",
        *tasks,
        "gains",
        "costs",
        "mean",
        *(f"mean - {one}" for one in against),
    ]
    rows = []
    base = {row["group"]: row["value"] for row in results["base"]["scores"]}
    shown = [base[name] for name in (*tasks, *MEANS)]
    rows.append(["base", "", "", "0", *(f"{100 * one:.1f}" for one in shown), "", "", ""])
    for arm in results["arms"]:
        scores = {row["group"]: row["value"] for row in arm["scores"]}
        cells = [arm["name"], str(len(arm["seeds"])), _rate(arm), f"{arm['steps']:,.0f}"]
        cells += [f"{100 * scores[name]:.1f}" for name in (*tasks, *MEANS)]
        cells += [_difference(results, arm["name"], one, "mean") for one in against]
        rows.append(cells)
    return _markdown(head, rows)


def taxes(results: Results) -> str:
    """One row an arm: what it gained and what it lost against the base, and the costs against vanilla's peak."""
    head, rows = (
        ["arm", "gains - base", "costs - base", "costs - peak", "gains - vanilla", "costs - vanilla"],
        [],
    )
    for arm in results["arms"]:
        asked = [("base", "gains"), ("base", "costs"), ("peak", "costs"), (results["against"], "gains"),
                 (results["against"], "costs")]  # fmt: skip
        cells = [_difference(results, arm["name"], against, group) for against, group in asked]
        rows.append([arm["name"], *cells])
    return _markdown(head, rows)


TRAINED = ("vanilla", "early-stopped", "checkpoint-average", "wise-ft")
SUMMARY = {  # the arms of docs/results.md
    "core": (*TRAINED, "uniform-soup", "greedy-soup", "sequential", "norm-matched", "dtm-random-2", "dtm-random-4",
             "dtm-random-8", "dtm-by-source-4", "dtm-kmeans-4", "ensemble"),
    "clean": (*TRAINED, "dtm-random-4", "dtm-by-source-4"),
}  # fmt: skip


def summary(results: Results) -> str:
    """One row a chosen arm: what it takes to make, and what it gained and kept, against base and vanilla."""
    found = {arm["name"]: arm for arm in results["arms"]}
    head = ["arm", "seeds", "steps", "gains - base", "costs - base", "gains - vanilla", "costs - vanilla"]
    rows = []
    for name in SUMMARY[results["study"]]:
        asked = [(against, group) for against in ("base", results["against"]) for group in ("gains", "costs")]
        cells = [_difference(results, name, *one) for one in asked]
        rows.append([name, str(len(found[name]["seeds"])), f"{found[name]['steps']:,.0f}", *cells])
    return _markdown(head, rows)


def curve(results: Results) -> str:
    """Score against share of vanilla's training, and how much faster its training loss fell: means over seeds."""
    head, rows = (
        ["share", "gains", "costs", "mean", "dev", "training loss", "held-out loss", "drop ratio"],
        [],
    )
    for points in zip(*(run["points"] for run in results["curve"]["runs"]), strict=True):
        cells = [f"{100 * points[0]['share']:.0f} %"]
        cells += [f"{100 * _mean([one['scores'][name] for one in points]):.1f}" for name in MEANS]
        cells.append(f"{100 * _mean([one['dev'] for one in points]):.1f}")
        cells += [
            _plain([one[name] for one in points]) for name in ("training_loss", "heldout_loss", "drop_ratio")
        ]
        rows.append(cells)
    return _markdown(head, rows)


def grids(results: Results) -> str:
    """The dev score of every arm that was tuned at every rate, in percent; the chosen one is bold."""
    own = [arm for arm in results["arms"] if arm["grid"] and arm["grid"]["tuned_as"] == arm["name"]]
    rates = [point["values"][RATE] for point in own[0]["grid"]["points"]]
    head, rows = ["arm", *(f"{rate:g}" for rate in rates)], []
    for arm in own:
        cells = []
        for place, point in enumerate(arm["grid"]["points"]):
            text = "failed" if point["score"] is None else f"{100 * point['score']:.1f}"
            cells.append(f"**{text}**" if place == arm["grid"]["chosen"] else text)
        rows.append([arm["name"], *cells])
    return _markdown(head, rows)


def regimes(results: Results) -> str:
    """One row a cell of the map: gains, costs and mean of vanilla, and of each K with its mean minus vanilla's."""
    scores = {arm["name"]: {row["group"]: row["value"] for row in arm["scores"]} for arm in results["arms"]}
    cells = list(dict.fromkeys(name.rpartition(".")[0] for name in scores))
    counts = sorted({int(name.rpartition("-")[2]) for name in scores if ".dtm-" in name})
    head = ["cell", "vanilla", *(f"K = {k}" for k in counts)]
    rows = []
    for cell in cells:
        vanilla = scores[f"{cell}.vanilla"]
        row = [cell, _triple(vanilla)]
        for k in counts:
            merged = scores.get(f"{cell}.dtm-{k}")
            row.append(
                f"{_triple(merged)} ({100 * (merged['mean'] - vanilla['mean']):+.1f})" if merged else ""
            )
        rows.append(row)
    return _markdown(head, rows)


def splits(results: Results) -> str:
    """One row an arm: gains, costs, mean, and how they differ from the arm that all are compared with and the base."""
    against = results["against"]
    head = ["arm", "seeds", *MEANS, *(f"{name} - {against}" for name in MEANS), "mean - base"]
    rows = [["base", "", *_means(results["base"]), *[""] * 4]]
    for arm in results["arms"]:
        asked = [*((against, name) for name in MEANS), ("base", "mean")]
        cells = [_difference(results, arm["name"], *one) for one in asked]
        rows.append([arm["name"], str(len(arm["seeds"])), *_means(arm), *cells])
    return _markdown(head, rows)


def portions(results: Results) -> str:
    """One row a way to split: what splits.py found in its runs."""
    found = json.loads((HERE / "results" / f"{results['study']}-splits.json").read_text(encoding="utf-8"))
    head = [
        "arm",
        "seeds",
        "largest / mean tokens",
        "agreement with sources",
        "cosine of updates",
        "merged / own norm",
        "merged norm",
    ]
    rows = [
        [
            arm,
            str(one["seeds"]),
            *(f"{one[key]:.2f}" for key in ("tokens", "sources", "cosine", "norm", "distance")),
        ]
        for arm, one in sorted(found.items(), key=lambda item: item[1]["distance"])
    ]
    return _markdown(head, rows)


def _means(scored: dict[str, Any]) -> list[str]:
    scores = {row["group"]: row["value"] for row in scored["scores"]}
    return [f"{100 * scores[name]:.1f}" for name in MEANS]


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    told = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([told[0], f"|{'---|' * len(head)}", *told[1:]]) + "\n"


def _triple(scores: dict[str, float]) -> str:
    return " / ".join(f"{100 * scores[name]:.1f}" for name in MEANS)


def _difference(results: Results, arm: str, against: str, group: str) -> str:
    """In points with its interval; ▲ and ▼ are shown after correction, · was only screened."""
    for row in results["comparisons"]:
        if (row["arm"], row["against"], row["group"]) == (arm, against, group):
            low, high = 100 * row["low"], 100 * row["high"]
            return f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]{MARKS.get(row['verdict'], '')}"
    return ""


def _rate(arm: dict[str, Any]) -> str:
    rate = (arm["point"] or {}).get(RATE)
    return "" if rate is None else f"{rate:g}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _plain(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{_mean(known):.2f}" if known else ""


TABLES = {
    "core": (table, taxes, curve, grids),
    "clean": (table, taxes, curve, grids),
    "map": (regimes,),
    "splits-hot": (splits, portions),
    "splits-after": (splits,),
    "splits-warm": (splits, portions),
}


def read(name: str) -> Results:
    """The kept study.json of that name."""
    return json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    for name, makers in TABLES.items():
        for maker in makers:
            print(f"{name}: {maker.__doc__}\n\n{maker(read(name))}")
