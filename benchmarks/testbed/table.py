"""The tables of README.md, from the results beside it: `python benchmarks/testbed/table.py`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from dtm.study.markdown import MEANS, curve, difference, grids, score_cells
from dtm.study.markdown import table as markdown

HERE = Path(__file__).parent
RATE = "train.args.learning_rate"

Results = dict[str, Any]


def along(results: Results) -> str:
    """Score against share of vanilla's training, and how much faster its training loss fell: means over seeds."""
    return curve(results["curve"])


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
    groups = (*tasks, *MEANS)
    rows.append(["base", "", "", "0", *score_cells(results, results["base"]["scores"], groups), "", "", ""])
    for arm in results["arms"]:
        cells = [arm["name"], str(len(arm["seeds"])), _rate(arm), f"{arm['steps']:,.0f}"]
        cells += score_cells(results, arm["scores"], groups)
        cells += [difference(results, arm["name"], one, "mean") for one in against]
        rows.append(cells)
    return markdown(head, rows)


def taxes(results: Results) -> str:
    """One row an arm: what it gained and what it lost against the base, and the costs against vanilla's peak."""
    head, rows = (
        ["arm", "gains - base", "costs - base", "costs - peak", "gains - vanilla", "costs - vanilla"],
        [],
    )
    for arm in results["arms"]:
        asked = [("base", "gains"), ("base", "costs"), ("peak", "costs"), (results["against"], "gains"),
                 (results["against"], "costs")]  # fmt: skip
        cells = [difference(results, arm["name"], against, group) for against, group in asked]
        rows.append([arm["name"], *cells])
    return markdown(head, rows)


TRAINED = ("vanilla", "early-stopped", "checkpoint-average", "wise-ft")
SUMMARY = {  # the arms of docs/results.md
    "core": (*TRAINED, "uniform-soup", "greedy-soup", "sequential", "norm-matched", "dtm-random-2", "dtm-random-4",
             "dtm-random-8", "dtm-by-source-4", "dtm-kmeans-4", "ensemble"),
    "clean": (*TRAINED, "dtm-random-4", "dtm-by-source-4"),
    "arms": ("vanilla", "wise-ft", "replay", "l2", "ewc", "kl", "curate-random", "curate-ifd", "curate-deita", "dtm",
             "dtm-fisher", "dtm-task-arithmetic", "dtm-ties", "dtm-dare", "dtm-wise-ft-0.5"),
}  # fmt: skip


def summary(results: Results) -> str:
    """One row a chosen arm: what it takes to make, and what it gained and kept, against base and vanilla."""
    found = {arm["name"]: arm for arm in results["arms"]}
    head = ["arm", "seeds", "steps", "gains - base", "costs - base", "gains - vanilla", "costs - vanilla"]
    rows = []
    for name in SUMMARY[results["study"]]:
        asked = [(against, group) for against in ("base", results["against"]) for group in ("gains", "costs")]
        cells = [difference(results, name, *one) for one in asked]
        rows.append([name, str(len(found[name]["seeds"])), f"{found[name]['steps']:,.0f}", *cells])
    return markdown(head, rows)


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
    return markdown(head, rows)


def splits(results: Results) -> str:
    """One row an arm: gains, costs, mean, and how they differ from the arm that all are compared with and the base."""
    return _compared(results, {})


def others(results: Results) -> str:
    """The same with what tuning chose, and the steps."""
    return _compared(results, {"rate": _rate, "steps": lambda arm: f"{arm['steps']:,.0f}"})


def _compared(results: Results, more: Mapping[str, Callable[[dict[str, Any]], str]]) -> str:
    against = results["against"]
    head = ["arm", "seeds", *more, *MEANS, *(f"{name} - {against}" for name in MEANS), "mean - base"]
    spent = ["0" if name == "steps" else "" for name in more]
    rows = [["base", "", *spent, *score_cells(results, results["base"]["scores"], MEANS), *[""] * 4]]
    for arm in results["arms"]:
        asked = [*((against, name) for name in MEANS), ("base", "mean")]
        known = [arm["name"], str(len(arm["seeds"])), *(told(arm) for told in more.values())]
        differences = [difference(results, arm["name"], *one) for one in asked]
        rows.append([*known, *score_cells(results, arm["scores"], MEANS), *differences])
    return markdown(head, rows)


def pilot(results: Results) -> str:
    """Gains / costs / mean along each training, and the ratio of the drops in training and held-out loss."""
    curves = [results["curve"], *results["curves"]]
    head = [
        "share",
        *(f"{one['arm']}, {what}" for what in (" / ".join(MEANS), "drop ratio") for one in curves),
    ]
    rows = []
    for at in zip(
        *(zip(*(run["points"] for run in one["runs"]), strict=True) for one in curves), strict=True
    ):
        scores = [
            " / ".join(f"{100 * fmean(one['scores'][name] for one in points):.1f}" for name in MEANS)
            for points in at
        ]
        ratios = [[one["drop_ratio"] for one in points if one["drop_ratio"] is not None] for points in at]
        rows.append(
            [
                f"{100 * at[0][0]['share']:.0f} %",
                *scores,
                *(f"{fmean(one):.2f}" if one else "" for one in ratios),
            ]
        )
    return markdown(head, rows)


def lengths(results: Results) -> str:
    """One row an operator, by how far its merge lies from the base; and what it gains and keeps."""
    found = json.loads((HERE / "results" / f"{results['study']}-splits.json").read_text(encoding="utf-8"))
    scores = {arm["name"]: score_cells(results, arm["scores"], MEANS) for arm in results["arms"]}
    order = sorted(found, key=lambda name: found[name]["distance"])
    rows = [
        [name, f"{found[name]['distance']:.2f}", f"{found[name]['norm']:.2f}", *scores[name]]
        for name in order
    ]
    return markdown(["arm", "merged norm", "merged / own norm", *MEANS], rows)


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
    return markdown(head, rows)


def _triple(scores: dict[str, float]) -> str:
    return " / ".join(f"{100 * scores[name]:.1f}" for name in MEANS)


def _rate(arm: dict[str, Any]) -> str:
    rate = (arm["point"] or {}).get(RATE)
    return "" if rate is None else f"{rate:g}"


TABLES = {
    "core": (table, taxes, along, grids),
    "clean": (table, taxes, along, grids),
    "map": (regimes,),
    "splits-hot": (splits, portions),
    "splits-after": (splits,),
    "splits-warm": (splits, portions),
    "arms": (others, grids),
    "operators": (splits, lengths),
    "pilot": (splits, pilot),
}


def read(name: str) -> Results:
    """The kept study.json of that name."""
    return json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    for name, makers in TABLES.items():
        if not (HERE / "results" / f"{name}.json").exists():
            continue
        for maker in makers:
            print(f"{name}: {maker.__doc__}\n\n{maker(read(name))}")
