"""The figures that stand on an axis: the score table's differences, sub-models by task, held-out loss."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from dtm.report.axis import Axis, axis, label, round_step
from dtm.report.board import Board, Difference, Row, Score
from dtm.report.wording import interval, is_share, loss, score, signed


def score_rows(scores: Board) -> dict[str, Any]:
    """The score table, with one common scale for the differences in points."""
    pairs = [pair for row in scores.rows if row.is_share for pair in row.differences.values()]
    scale = _around_zero(end for pair in pairs for end in (pair.low, pair.high, pair.value))
    rows = [
        {
            "task": row.task,
            "form": _form(row.format, scores),
            "metric": row.metric,
            "n": row.n,
            "chance": score(row.chance, row.is_share) if row.chance is not None else "",
            "cells": [_cell(row.scores.get(name), name, row.is_share) for name in scores.shown],
            "pairs": [_pair(row, name, scale) for name in scores.against],
        }
        for row in scores.rows
    ]
    flat = any(pair.low == pair.high and pair.low is not None for pair in pairs)
    means = [
        {
            "title": f"mean of {mean.tasks} tasks",
            "form": _form(mean.format, scores),
            "cells": [_cell(cell, name, True) for name, cell in mean.scores.items()],
            "pairs": [
                _mark(mean.differences.get(name), True, scale) | {"against": name} for name in scores.against
            ],
        }
        for mean in scores.means
    ]
    return {"rows": rows, "means": means, "ticks": _ticks(scale, signed), "scaled": bool(pairs), "flat": flat}


def every_score(results: dict[str, Any]) -> list[dict[str, Any]]:
    """All metrics of all models, for the table behind the figures."""
    rows = results["results"]["scores"]
    found: dict[str, list[float | None]] = {}
    for row in rows:
        found.setdefault(row["metric"], []).append(row["value"])
    shares = {metric: is_share(metric, values) for metric, values in found.items()}
    return [
        row | _cell(Score(row["value"], row["low"], row["high"]), row["model"], shares[row["metric"]])
        for row in rows
    ]


def spread(scores: Board, colours: dict[str, str]) -> dict[str, Any] | None:
    """Sub-models as dots beside the merged model, by task: points above the base, or scores without one."""
    submodels, base = scores.of_role("submodel"), next(iter(scores.of_role("base")), "")
    rows = [row for row in scores.rows if row.is_share and any(name in row.scores for name in submodels)]
    if not rows:
        return None
    relative = all(_value(row, base) is not None for row in rows)
    words = signed if relative else score
    names = submodels + [name for name in scores.shown if not (relative and name == base)]
    lines = [{name: _above(row, name, base if relative else None) for name in names} for row in rows]
    scale = axis(
        (value for line in lines for value in line.values()),
        wanted=8,
        include=(0.0,) if relative else (),
        least=0.05,
    )
    drawn = []
    for row, line in zip(rows, lines, strict=True):
        found = [value for name in submodels if (value := line[name]) is not None]
        dots = [
            _dot(name, scores, colours) | {"text": words(value, True), "at": scale.place(value)}
            for name, value in line.items()
            if value is not None
        ]
        middle = scale.place(statistics.fmean(found)) if found else None
        drawn.append({"label": row.task, "form": _form(row.format, scores), "middle": middle, "dots": dots})
    return {
        "rows": drawn,
        "relative": relative,
        "zero": scale.place(0.0) if relative else None,
        "base": base,
        "ticks": _ticks(scale, words),
        "legend": [_dot(name, scores, colours) for name in names],
    }


def heldout(results: dict[str, Any], scores: Board, colours: dict[str, str]) -> dict[str, Any] | None:
    """Held-out loss: a row a source, `all` first, a dot a model, whiskers for all but sub-models."""
    rows = [
        row
        for row in results["results"]["heldout"]
        if row["loss"] is not None
        and scores.models.get(row["model"], {}).get("role") not in (None, "checkpoint")
    ]
    if not rows:
        return None
    main = [row for row in rows if scores.models[row["model"]]["role"] != "submodel"]
    ends = [row[end] for row in main for end in ("low", "high")]
    scale = axis([*(row["loss"] for row in rows), *ends], wanted=8)
    drawn = []
    for source in sorted({row["source"] for row in rows}, key=lambda name: (name != "all", name)):
        dots = []
        for row in (row for row in rows if row["source"] == source):
            dot = _dot(row["model"], scores, colours)
            low, high = (None, None) if dot["role"] == "submodel" else (row["low"], row["high"])
            dots.append(dot | {"text": loss(row["loss"])} | _span(scale, row["loss"], low, high))
        size = next(row["rows"] for row in rows if row["source"] == source)
        dots.sort(key=lambda dot: dot["role"] != "submodel")  # drawn last, so that they lie on top
        drawn.append({"label": source, "rows": size, "dots": dots})
    names = list(dict.fromkeys(row["model"] for row in rows))
    return {
        "rows": drawn,
        "ticks": [(scale.place(tick), label(tick)) for tick in scale.ticks],
        "legend": [_dot(name, scores, colours) for name in names],
        "table": rows,
    }


def _around_zero(values: Iterable[float | None]) -> Axis:
    """From -x to x, with ticks at a round value below x, so that better and worse mirror each other."""
    reach = max((abs(value) for value in values if value is not None), default=0) or 0.1
    tick = round_step(reach / 2.5)
    return Axis(-1.04 * reach, 1.04 * reach, [-tick, 0.0, tick])


def _ticks(scale: Axis, words: Any) -> list[tuple[float, str]]:
    return [(scale.place(tick), words(tick, True).removesuffix(".0")) for tick in scale.ticks]


def _cell(cell: Score | None, name: str, share: bool) -> dict[str, Any]:
    cell = cell or Score(None, None, None)
    bounds = interval(cell.low, cell.high, share)
    return {"model": name, "value": score(cell.value, share), "bounds": bounds}


def _pair(row: Row, name: str, scale: Axis) -> dict[str, Any]:
    pair = row.differences.get(name)
    mark = _mark(pair, row.is_share, scale) | {"against": name}
    return mark if pair is None else mark | {"verdict": pair.verdict, "p": pair.p_holm}


def _mark(pair: Difference | Score | None, share: bool, scale: Axis) -> dict[str, Any]:
    """A difference in words, and where it stands if it is on the common scale."""
    if pair is None or pair.value is None:
        return {"value": "", "bounds": "", "verdict": "untested", "p": None}
    bounds = interval(pair.low, pair.high, share, sign=True)
    mark = {"value": signed(pair.value, share), "bounds": bounds, "verdict": "open", "p": None}
    return mark | _span(scale, pair.value, pair.low, pair.high) if share else mark


def _span(scale: Axis, value: float, low: float | None, high: float | None) -> dict[str, float]:
    """Where a dot and its whisker stand, in percent of the axis."""
    if low is None or high is None:
        return {"at": scale.place(value)}
    left, right = scale.place(low), scale.place(high)
    return {"at": scale.place(value), "left": left, "width": round(right - left, 2)}


def _dot(name: str, scores: Board, colours: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "role": scores.models[name]["role"], "colour": colours[name]}


def _value(row: Row, name: str) -> float | None:
    return row.scores[name].value if name in row.scores else None


def _above(row: Row, name: str, base: str | None) -> float | None:
    value, start = _value(row, name), 0.0 if base is None else _value(row, base)
    return None if value is None or start is None else value - start


def _form(form: str, scores: Board) -> str:
    """The prompt format, where there is more than one."""
    return form if scores.several_formats else ""
