"""The curve of the tax: scores against the share of a training, one small panel a task or mean.

A run's report draws it from its checkpoints, a study's from those of all seeds, with a band from the lowest to the
highest seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dtm.report.axis import Axis, axis
from dtm.report.board import Board, Row
from dtm.report.curves import path
from dtm.report.wording import score

Point = tuple[float, float | None]  # share of the training, score
PANELS = 8


def panel(
    title: str,
    runs: Sequence[Sequence[Point]],
    *,
    share: bool = True,
    marks: Sequence[dict[str, Any]] = (),
    more: str = "",
) -> dict[str, Any]:
    """One panel: the mean line over `runs` (a run a seed), their band, the best point of the mean, and `marks`.

    Marks stand beside the curve: {name, colour, role, value, low, high, number}. `share`: scores are in percent.
    """
    middle = [(_mean([x for x, _ in points]), _mean([y for _, y in points])) for points in _columns(runs)]
    ends = [end for mark in marks for end in (mark["value"], mark["low"], mark["high"])]
    y = axis([*(value for run in runs for _, value in run), *ends], wanted=4, least=0.05)
    x = Axis(0.0, 1.0, [0.0, 0.5, 1.0])
    known = [point for point in middle if point[1] is not None]
    best = max(known, key=lambda point: point[1] or 0.0, default=None)
    return {
        "title": title,
        "more": more,
        "band": _band(_columns(runs), x, y) if len(runs) > 1 else "",
        "line": path(middle, x, y),
        "dots": [_dot(point, x, y, share) for point in known],
        "best": None if best is None else _dot(best, x, y, share),
        "marks": [_mark(mark, y, share) for mark in marks],
        "y_ticks": [(y.place(tick), score(tick, share).removesuffix(".0")) for tick in y.ticks],
        "x_ticks": [(x.place(tick), f"{100 * tick:.0f}") for tick in x.ticks],
    }


def of_run(scores: Board) -> dict[str, Any] | None:
    """The figure of a single run, from its models of role `checkpoint`; None where it has none.

    A curve is of the training whose checkpoints were evaluated, from the base to its finished model.
    """
    kept = sorted((model["share"], name) for name, model in scores.models.items()
                  if model["role"] == "checkpoint" and model["share"] is not None)  # fmt: skip
    trainings = list(dict.fromkeys(name.rpartition("@")[0] for _, name in kept))
    if not trainings:
        return None
    names = [(share, name) for share, name in kept if name.rpartition("@")[0] == trainings[0]]
    base = [(0.0, name) for name in scores.of_role("base")[:1]]
    rows = [row for row in scores.rows if any(name in row.scores for _, name in names)]
    runs = [(row, [(share, _value(row, name)) for share, name in base + names]) for row in rows]
    panels = [panel(_title(row, scores), [run], share=row.is_share) for row, run in runs]
    full = [run for row, run in runs if row.is_share and all(value is not None for _, value in run)]
    if len(full) > 1:
        shares = [share for share, _ in full[0]]
        mean = [(share, _mean([run[place][1] for run in full])) for place, share in enumerate(shares)]
        panels.insert(0, panel(f"mean of {len(full)} tasks", [mean]))
    return {"panels": panels[:PANELS], "left": max(0, len(panels) - PANELS), "training": trainings[0], "seeds": 1,
            "points": len(names)}  # fmt: skip


def _columns(runs: Sequence[Sequence[Point]]) -> list[list[Point]]:
    """The points of all runs at one place of the training; runs that kept fewer points end earlier."""
    longest = max((len(run) for run in runs), default=0)
    return [[run[place] for run in runs if place < len(run)] for place in range(longest)]


def _band(columns: Sequence[Sequence[Point]], x: Axis, y: Axis) -> str:
    """A closed SVG path between the lowest and the highest run."""
    reach = [(_mean([share for share, _ in points]), [value for _, value in points if value is not None])
             for points in columns]  # fmt: skip
    there = [(share, min(values), max(values)) for share, values in reach if values]
    if len(there) < 2:
        return ""
    upper = path([(share, high) for share, _, high in there], x, y)
    lower = path([(share, low) for share, low, _ in reversed(there)], x, y)
    return f"{upper}L{lower.removeprefix('M')}Z"


def _dot(point: tuple[float | None, float | None], x: Axis, y: Axis, share: bool) -> dict[str, Any]:
    at, value = point[0] or 0.0, point[1] or 0.0
    return {"x": x.place(at), "y": y.place(value), "text": f"{score(value, share)} at {100 * at:.0f} %"}


def _mark(mark: dict[str, Any], y: Axis, share: bool) -> dict[str, Any]:
    placed = {
        **mark,
        "y": y.place(mark["value"]),
        "text": score(mark["value"], share),
        "bottom": None,
        "height": None,
    }
    if mark["low"] is None or mark["high"] is None:
        return placed
    low, high = y.place(mark["low"]), y.place(mark["high"])
    return {**placed, "bottom": low, "height": round(high - low, 2)}


def _title(row: Row, scores: Board) -> str:
    return f"{row.task} ({row.format})" if scores.several_formats else row.task


def _value(row: Row, name: str) -> float | None:
    return row.scores[name].value if name in row.scores else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
