"""What arms gained against what they lost: the figure, and the front of those that none beats on both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtm.report.axis import Axis, axis
from dtm.report.curves import path
from dtm.report.wording import signed
from dtm.study.comparing import COSTS, GAINS
from dtm.study.figures import Results, arms, mean_of
from dtm.study.items import BASE


def pareto(results: Results) -> dict[str, Any] | None:
    """What arms gained against what they lost, from the base; None unless the file names gains and costs.

    The front is made of the arms, the base among them, that no other beats on both.
    """
    dots = [dot for known in arms(results) if (dot := _gained_and_lost(results, known)) is not None]
    if not dots:
        return None
    way = _way(results)
    x, y = (
        axis([0.0, *(end for dot in dots for end in dot[name]), *(point[place] for point in way)], wanted=5)
        for place, name in enumerate(("gain", "cost"))
    )
    start = {
        "name": BASE,
        "number": "",
        "colour": "var(--base)",
        "role": "base",
        "gain": (0.0,) * 3,
        "cost": (0.0,) * 3,
    }
    placed = [dot | _placed(dot, x, y) for dot in [start, *dots]]
    front = front_of([(dot["gain"][0], dot["cost"][0]) for dot in placed])
    steps = [(x.place(placed[index]["gain"][0]), y.place(placed[index]["cost"][0])) for index in front]
    for index in front:
        placed[index]["front"] = True
    return {
        "dots": placed, "front": _stairs(steps), "trail": path(way, x, y),
        "x_ticks": [(x.place(tick), signed(tick, True).removesuffix(".0")) for tick in x.ticks],
        "y_ticks": [(y.place(tick), signed(tick, True).removesuffix(".0")) for tick in y.ticks],
        "zero": (x.place(0.0), y.place(0.0)), "names": [placed[index]["name"] for index in front],
    }  # fmt: skip


def front_of(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points that no other one reaches or passes in both coordinates, from left to right."""
    order = sorted(range(len(points)), key=lambda index: (-points[index][0], -points[index][1]))
    kept, highest = [], float("-inf")
    for index in order:
        if points[index][1] > highest:
            kept.append(index)
            highest = points[index][1]
    return kept[::-1]


def _gained_and_lost(results: Results, known: dict[str, Any]) -> dict[str, Any] | None:
    rows = {row["group"]: row for row in results["comparisons"]
            if row["arm"] == known["name"] and row["against"] == BASE and row["group"] in (GAINS, COSTS)}  # fmt: skip
    if len(rows) < 2:
        return None
    ends = {name: tuple(rows[group][key] for key in ("difference", "low", "high"))
            for name, group in (("gain", GAINS), ("cost", COSTS))}  # fmt: skip
    text = f"{signed(ends['gain'][0], True)} taught, {signed(ends['cost'][0], True)} of what it knew"
    return known | ends | {"text": text, "front": False}


def _placed(dot: dict[str, Any], x: Axis, y: Axis) -> dict[str, Any]:
    (gain, least, most), (cost, low, high) = dot["gain"], dot["cost"]
    return {"x": x.place(gain), "y": y.place(cost), "left": x.place(least), "bottom": y.place(low),
            "width": round(x.place(most) - x.place(least), 2), "height": round(y.place(high) - y.place(low), 2),
            "text": dot.get("text", "where all start"), "front": False}  # fmt: skip


def _stairs(steps: Sequence[tuple[float, float]]) -> str:
    """An SVG path in a 1000 x 1000 box along the front: what lies below and left of it is beaten."""
    if not steps:
        return ""
    first, up = steps[0]
    parts = [f"M0 {1000 - 10 * up:.0f}H{10 * first:.0f}"]
    parts += [f"V{1000 - 10 * up:.0f}H{10 * across:.0f}" for across, up in steps[1:]]
    return "".join(parts) + "V1000"


def _way(results: Results) -> list[tuple[float, float]]:
    """What the training of `against` gains and keeps on its way from the base, mean over seeds."""
    if results["curve"] is None:
        return []
    start = {row["group"]: row["value"] for row in results["base"]["scores"]}
    way = []
    for points in zip(*(run["points"] for run in results["curve"]["runs"]), strict=False):
        gain, cost = (mean_of([point["scores"].get(group) for point in points]) for group in (GAINS, COSTS))
        if gain is not None and cost is not None:
            way.append((gain - start[GAINS], cost - start[COSTS]))
    return way
