"""The curve of the tax: scores against the share of a training, one small panel a task or mean.

A run's report draws it from its checkpoints, with the intervals of their scores as a band; a study's from those of all
seeds, with a band from the lowest to the highest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dtm.report.axis import Axis, axis
from dtm.report.board import Board, Row, Score, mean_of
from dtm.report.curves import path
from dtm.report.wording import score

Point = tuple[float, float | None]  # share of the training, score
Bounds = tuple[float, float, float]  # share of the training, lower and upper end
PANELS = 8
LEAST = 0.1


def panel(
    title: str,
    runs: Sequence[Sequence[Point]],
    *,
    share: bool = True,
    marks: Sequence[dict[str, Any]] = (),
    bounds: Sequence[Bounds] = (),
    others: Sequence[tuple[str, str, Sequence[Sequence[Point]]]] = (),
    more: str = "",
) -> dict[str, Any]:
    """One panel: the mean line over `runs` (a run a seed), a band, the best point of the mean, and `marks`.

    The band holds all runs; of a single one it is `bounds`, the intervals of its points. Marks stand beside the
    curve: {name, colour, role, value, low, high, number}. `others` are further trainings, drawn as their mean line:
    (name, colour, runs). `share`: scores are in percent.
    """
    columns = _columns(runs)
    middle = _middle(columns)
    lines = [(name, colour, _middle(_columns(theirs))) for name, colour, theirs in others]
    band = bounds if len(runs) == 1 else _reach(columns)
    ends = [end for mark in marks for end in (mark["value"], mark["low"], mark["high"])]
    ends += [end for _, *both in band for end in both]
    ends += [value for *_, points in lines for _, value in points]
    y = _upwards([*(value for run in runs for _, value in run), *ends], share)
    x = Axis(0.0, 1.0, [0.0, 0.5, 1.0])
    known = [point for point in middle if point[1] is not None]
    best = max(known, key=lambda point: point[1] or 0.0, default=None)
    return {
        "title": title,
        "more": more,
        "band": _band(band, x, y),
        "line": path(middle, x, y),
        "others": [
            {"name": name, "colour": colour, "d": path(points, x, y)} for name, colour, points in lines
        ],
        "dots": [_dot(point, x, y, share) for point in known],
        "best": None if best is None else _dot(best, x, y, share),
        "marks": [_mark(mark, y, share) for mark in marks],
        "y_ticks": [(y.place(tick), score(tick, share).removesuffix(".0")) for tick in y.ticks],
        "x_ticks": [(x.place(tick), f"{100 * tick:.0f}") for tick in x.ticks],
    }


def of_run(scores: Board, colours: Mapping[str, str]) -> dict[str, Any] | None:
    """The figure of a single run, from its models of role `checkpoint`; None where it has none.

    A curve is of the training whose checkpoints were evaluated, from the base to its finished model. The other
    finished models, merged and baselines, stand beside it.
    """
    kept = sorted((model["share"], name) for name, model in scores.models.items()
                  if model["role"] == "checkpoint" and model["share"] is not None)  # fmt: skip
    trainings = list(dict.fromkeys(name.rpartition("@")[0] for _, name in kept))
    if not trainings:
        return None
    names = [(share, name) for share, name in kept if name.rpartition("@")[0] == trainings[0]]
    base = [(0.0, name) for name in scores.of_role("base")[:1]]
    rows = [row for row in scores.rows if any(name in row.scores for _, name in names)]
    places = base + names
    marks = [
        {"name": name, "colour": colours[name], "role": "claim", "number": ""}
        for role in ("baseline", "merged")
        for name in scores.of_role(role)
        if name != trainings[0]
    ]
    panels = [_of_scores(_title(row, scores), [(share, row.scores.get(name)) for share, name in places],
                         _beside(marks, row.scores), row.is_share) for row in rows]  # fmt: skip
    full = [row for row in rows if row.is_share and all(name in row.scores for _, name in places)]
    if len(full) > 1:
        means = [(share, mean_of([row.scores[name] for row in full])) for share, name in places]
        whole = [mark for mark in marks if all(mark["name"] in row.scores for row in full)]
        finished = {mark["name"]: mean_of([row.scores[mark["name"]] for row in full]) for mark in whole}
        panels.insert(0, _of_scores(f"mean of {len(full)} tasks", means, _beside(whole, finished), True))
    return {"panels": panels[:PANELS], "left": max(0, len(panels) - PANELS), "training": trainings[0],
            "points": len(names), "beside": marks}  # fmt: skip


def _beside(marks: Sequence[dict[str, Any]], found: Mapping[str, Score | None]) -> list[dict[str, Any]]:
    """The marks of those models that have a score, with it."""
    scored = [(mark, found.get(mark["name"])) for mark in marks]
    return [{**mark, "value": one.value, "low": one.low, "high": one.high} for mark, one in scored
            if one is not None and one.value is not None]  # fmt: skip


def _of_scores(
    title: str, points: Sequence[tuple[float, Score | None]], marks: Sequence[dict[str, Any]], share: bool
) -> dict[str, Any]:
    """A panel of one run, the intervals of its scores as the band."""
    run = [(place, one.value if one else None) for place, one in points]
    bounds = [(place, one.low, one.high) for place, one in points
              if one and one.low is not None and one.high is not None]  # fmt: skip
    return panel(title, [run], share=share, bounds=bounds, marks=marks)


def _upwards(values: Sequence[float | None], share: bool) -> Axis:
    """The vertical axis; one of shares spans at least LEAST, so that an item or two do not look like a fall."""
    known = [value for value in values if value is not None]
    if not share or not known:
        return axis(known, wanted=4, least=0.05)
    spare = max(0.0, LEAST - (max(known) - min(known))) / 2
    low, high = min(known) - spare, max(known) + spare
    low, high = max(0.0, low - max(0.0, high - 1.0)), min(1.0, high + max(0.0, -low))
    return axis([low, high], wanted=4, include=tuple(end for end in (low, high) if end in (0.0, 1.0)))


def _columns(runs: Sequence[Sequence[Point]]) -> list[list[Point]]:
    """The points of all runs at one place of the training; runs that kept fewer points end earlier."""
    longest = max((len(run) for run in runs), default=0)
    return [[run[place] for run in runs if place < len(run)] for place in range(longest)]


def _middle(columns: Sequence[Sequence[Point]]) -> list[tuple[float | None, float | None]]:
    """The mean point of all runs at each place."""
    return [(_mean([x for x, _ in points]), _mean([y for _, y in points])) for points in columns]


def _reach(columns: Sequence[Sequence[Point]]) -> list[Bounds]:
    """The lowest and the highest run at each place."""
    found = []
    for points in columns:
        values = [value for _, value in points if value is not None]
        if values:
            found.append((math.fsum(share for share, _ in points) / len(points), min(values), max(values)))
    return found


def _band(bounds: Sequence[Bounds], x: Axis, y: Axis) -> str:
    """A closed SVG path between the lower and the upper ends."""
    if len(bounds) < 2:
        return ""
    upper = path([(share, high) for share, _, high in bounds], x, y)
    lower = path([(share, low) for share, low, _ in reversed(bounds)], x, y)
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


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
