"""The figures of a study's page, as plain dictionaries for the template; places are in percent of their axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtm.report import palette
from dtm.report.axis import Axis, axis, label, round_step
from dtm.report.curves import path
from dtm.report.tax_curve import panel
from dtm.report.wording import interval, loss, score, signed
from dtm.study.comparing import COSTS, GAINS, MEAN
from dtm.study.items import BASE
from dtm.study.references import ORACLE, PEAK
from dtm.study.statement import summary

Results = Mapping[str, Any]
TITLES = {MEAN: "mean of all benchmarks", GAINS: "what tuning teaches", COSTS: "what it may cost"}
DISTINCT = 12  # arms with a hue of their own


def arms(results: Results) -> list[dict[str, Any]]:
    """Name, number, colour and role of every arm: the same in all figures. `against` is orange, the screened hollow."""
    names = [arm["name"] for arm in results["arms"]]
    others = [name for name in names if name != results["against"]]
    return [
        {"name": arm["name"], "number": number, "role": "screened" if arm["screening"] else "claim",
         "colour": "var(--baseline)" if arm["name"] == results["against"]
         else palette.submodel(others.index(arm["name"]), min(len(others), DISTINCT))}
        for number, arm in enumerate(results["arms"], 1)
    ]  # fmt: skip


def tax_curve(results: Results) -> dict[str, Any] | None:
    """Scores along the training of `against`, a panel a mean and benchmark, the finished arms beside them."""
    found = results["curve"]
    if found is None:
        return None
    there = [row["group"] for row in results["base"]["scores"]]
    wanted = [name for name in (COSTS, GAINS, MEAN) if name in there]
    singles = [name for name in there if name not in wanted]
    drawn = [_panel(results, group) for group in wanted + (singles if len(singles) > 1 or not wanted else [])]
    return {"panels": drawn, "first": len(wanted) or len(drawn), "arm": found["arm"], "seeds": len(found["runs"]),
            "points": max(len(run["points"]) for run in found["runs"]) - 1, "others": _others(results)}  # fmt: skip


def _others(results: Results) -> list[dict[str, Any]]:
    """The arms, as `arms` tells them, whose trainings have a curve beside that of `against`."""
    named = [found["arm"] for found in results["curves"]]
    return [known for known in arms(results) if known["name"] in named]


def _panel(results: Results, group: str) -> dict[str, Any]:
    runs = _along(results["curve"], group)
    there = {found["arm"]: _along(found, group) for found in results["curves"]}
    others = [(known["name"], known["colour"], there[known["name"]]) for known in _others(results)]
    marks = []
    for known, arm in zip(arms(results), results["arms"], strict=True):
        row = score_of(arm["scores"], group)
        if row is not None and arm["name"] != results["against"]:
            marks.append({**known, **{name: row[name] for name in ("value", "low", "high")}})
    tasks = (
        [task for task in results.get(group, ()) if isinstance(task, str)] if group in (GAINS, COSTS) else []
    )
    return panel(TITLES.get(group, group), runs, marks=marks, others=others, more=", ".join(tasks))


def _along(found: Mapping[str, Any], group: str) -> list[list[tuple[float, float | None]]]:
    """(share, score) along every run of a curve."""
    return [
        [(point["share"], point["scores"].get(group)) for point in run["points"]] for run in found["runs"]
    ]


def losses(results: Results) -> list[dict[str, Any]]:
    """A figure a curve, where losses were kept: that of `against` first."""
    curves = [found for found in (results["curve"], *results["curves"]) if found is not None]
    return [figure for found in curves if (figure := _losses(found)) is not None]


def _losses(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Training and held-out loss along the training, and the ratio of their drops; means over seeds."""
    rows = []
    for points in zip(*(run["points"] for run in found["runs"]), strict=False):
        row = {name: mean_of([point[name] for point in points])
               for name in ("share", "training_loss", "heldout_loss", "drop_ratio")}  # fmt: skip
        rows.append(row)
    values = [row[name] for row in rows for name in ("training_loss", "heldout_loss")]
    if not any(value is not None for value in values):
        return None
    x, y = Axis(0.0, 1.0, [0.0, 0.5, 1.0]), axis(values, wanted=4)
    return {
        "arm": found["arm"],
        "lines": [{"name": name, "colour": colour, "d": path([(row["share"], row[key]) for row in rows], x, y)}
                  for name, key, colour in (("training", "training_loss", "var(--sub0)"),
                                            ("held-out", "heldout_loss", "var(--sub2)"))],
        "y_ticks": [(y.place(tick), label(tick)) for tick in y.ticks],
        "x_ticks": [(x.place(tick), f"{100 * tick:.0f}") for tick in x.ticks],
        "rows": [{"share": f"{100 * (row['share'] or 0):.0f} %", "training": loss(row["training_loss"]),
                  "heldout": loss(row["heldout_loss"]),
                  "ratio": "" if row["drop_ratio"] is None else f"{row['drop_ratio']:.2f}"} for row in rows],
    }  # fmt: skip


def kept_rows(results: Results) -> dict[str, Any] | None:
    """The loss of every arm on rows kept from training, a column a source, with its distance from the base's."""
    if not results["heldout"]:
        return None
    sources = list(dict.fromkeys(row["source"] for row in results["heldout"]))
    found = {(row["arm"], row["source"]): {"loss": loss(row["loss"]), "change": f"{row['loss'] - row['base']:+.3f}"}
             for row in results["heldout"]}  # fmt: skip
    rows = [
        {**arm, "cells": [found.get((arm["name"], source)) for source in sources]} for arm in arms(results)
    ]
    return {"sources": sources, "rows": rows}


def forest(results: Results, group: str | None = None) -> dict[str, Any] | None:
    """Differences of every arm, a column a reference, each on its scale around 0; of the whole, or of that group."""
    group = group or summary(results)
    rows = [row for row in results["comparisons"] if row["group"] == group and not row["oracle"]]
    if not rows:
        return None
    scales = {name: around_zero([row for row in rows if row["against"] == name])
              for name in dict.fromkeys(row["against"] for row in rows)}  # fmt: skip
    lines = []
    for known in arms(results):
        found = {row["against"]: row for row in rows if row["arm"] == known["name"]}
        if found:
            lines.append(known | {"cells": [_on(scale, found.get(name)) for name, scale in scales.items()]})
    references = [(called(name, results), _ticks(scale)) for name, scale in scales.items()]
    return {"group": group, "title": TITLES.get(group or "", group), "rows": lines, "references": references}


def around_zero(rows: Sequence[Mapping[str, Any]]) -> Axis:
    """From -x to x, so that better and worse mirror each other."""
    reach = max((abs(row[end]) for row in rows for end in ("low", "high")), default=0) or 0.1
    tick = round_step(reach / 2.5)
    return Axis(-1.04 * reach, 1.04 * reach, [-tick, 0.0, tick])


def _ticks(scale: Axis) -> list[tuple[float, str]]:
    return [(scale.place(tick), signed(tick, True).removesuffix(".0")) for tick in scale.ticks]


def difference(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A difference in words, and what may be said of it."""
    if row is None:
        return None
    bounds = interval(row["low"], row["high"], True, sign=True)
    return {
        "value": signed(row["difference"], True),
        "bounds": bounds,
        "verdict": row["verdict"],
        "p": row["p_holm"],
    }


def _on(scale: Axis, row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A difference with its place on the scale."""
    words = difference(row)
    if row is None or words is None:
        return None
    left, right = scale.place(row["low"]), scale.place(row["high"])
    return words | {"at": scale.place(row["difference"]), "left": left, "width": round(right - left, 2)}


def score_of(rows: Sequence[Mapping[str, Any]], group: str | None) -> Mapping[str, Any] | None:
    return next((row for row in rows if row["group"] == group), None)


def called(name: str, results: Results) -> str:
    """A reference in words."""
    words = {PEAK: f"best point of {results['against']}", BASE: "the base",
             ORACLE: f"best point of {results['against']}, an oracle"}  # fmt: skip
    return words.get(name, name)


def mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def cell(row: Mapping[str, Any] | None) -> dict[str, str]:
    """A score in words."""
    if row is None:
        return {"value": "–", "bounds": ""}
    return {"value": score(row["value"], True), "bounds": interval(row["low"], row["high"], True)}
