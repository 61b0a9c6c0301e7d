"""docs/images/pareto-*.svg, from results/: `python benchmarks/testbed/figure.py`.

What arms gained against what they lost of what the base knew, in points, with 95 % intervals; the line joins the arms
that no other beats on both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dtm.report.axis import Axis, axis
from dtm.study.pareto import front_of

HERE = Path(__file__).parent
IMAGES = HERE.parent.parent / "docs" / "images"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 460, 64, 20, 16, 52
BLUE, GREY, ORANGE, INK = "#2166ac", "#9aa0a6", "#d6604d", "#24292f"
STUDIES = ("core", "clean", "arms")
Results = dict[str, Any]


def figure(results: Results) -> str:
    """An SVG of 760 x 460, without fonts or scripts of its own."""
    dots = [("base", "base", (0.0,) * 3, (0.0,) * 3), *_dots(results)]
    x = axis([end for _, _, gain, _ in dots for end in gain], wanted=7)
    y = axis([end for _, _, _, cost in dots for end in cost], wanted=6)
    front = front_of([(gain[0], cost[0]) for _, _, gain, cost in dots])
    parts = [_frame(x, y)]
    corners = [(dots[place][2][0], dots[place][3][0]) for place in front]
    parts.append(f'<path d="{_stairs(corners, x, y)}" fill="none" stroke="{GREY}" stroke-dasharray="4 3"/>')
    taken: list[tuple[float, float]] = []
    claims = {arm["name"] for arm in results["arms"] if arm["claim"]}
    first = {"base", "vanilla", *(dots[place][0] for place in front)}  # names that want the room most
    order = sorted(dots, key=lambda dot: (dot[0] not in first, dot[0] not in claims))
    for name, kind, gain, cost in order:
        parts.append(_dot(name, kind, gain, cost, x, y, named=name in first | claims, taken=taken))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="{INK}" role="img"><rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _dots(results: Results) -> list[tuple[str, str, tuple[float, ...], tuple[float, ...]]]:
    found = {
        (row["arm"], row["group"]): tuple(100 * row[key] for key in ("difference", "low", "high"))
        for row in results["comparisons"] if row["against"] == "base" and row["group"] in ("gains", "costs")
    }  # fmt: skip
    names = [arm["name"] for arm in results["arms"] if (arm["name"], "gains") in found]
    return [(name, _kind(name), found[name, "gains"], found[name, "costs"]) for name in names]


def _kind(name: str) -> str:
    return "vanilla" if name == "vanilla" else "dtm" if name.startswith("dtm") else "other"


def _frame(x: Axis, y: Axis) -> str:
    lines = []
    for tick in x.ticks:
        at = _across(tick, x)
        lines.append(f'<line x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#e6e8eb"/>')
        lines.append(f'<text x="{at}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:+g}</text>')
    for tick in y.ticks:
        at = _up(tick, y)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}" stroke="#e6e8eb"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{at + 4}" text-anchor="end">{tick:+g}</text>')
    across, up = (WIDTH + LEFT - RIGHT) / 2, (HEIGHT - BOTTOM + TOP) / 2
    below, beside = f'x="{across}" y="{HEIGHT - 12}"', f'transform="translate(16 {up}) rotate(-90)"'
    for place, said in (
        (below, "gained of what is taught, points"),
        (beside, "kept of what the base knew, points"),
    ):
        lines.append(f'<text {place} text-anchor="middle">{said}</text>')
    return "\n".join(lines)


def _dot(
    name: str, kind: str, gain: tuple[float, ...], cost: tuple[float, ...], x: Axis, y: Axis, *, named: bool,
    taken: list[tuple[float, float]],
) -> str:  # fmt: skip
    colour = {"dtm": BLUE, "vanilla": ORANGE, "base": INK}.get(kind, GREY)
    at, up = _across(gain[0], x), _up(cost[0], y)
    lines = [f"<g><title>{name}: {gain[0]:+.1f} taught, {cost[0]:+.1f} kept</title>",
             f'<path d="M{_across(gain[1], x)} {up}H{_across(gain[2], x)}M{at} {_up(cost[1], y)}V{_up(cost[2], y)}" '
             f'stroke="{colour}" stroke-opacity=".25"/>',
             f'<circle cx="{at}" cy="{up}" r="4.5" fill="{colour}"/>']  # fmt: skip
    if named and all(abs(at - a) > 90 or abs(up - b) > 11 for a, b in taken):
        taken.append((at, up))
        lines.append(
            f'<text x="{at + 7}" y="{up - 6}" fill="{colour if kind != "other" else INK}">{name}</text>'
        )
    return "".join(lines) + "</g>"


def _stairs(corners: list[tuple[float, float]], x: Axis, y: Axis) -> str:
    path = [f"M{_across(corners[0][0], x)} {_up(corners[0][1], y)}"]
    path += [f"V{_up(cost, y)}H{_across(gain, x)}" for gain, cost in corners[1:]]
    return "".join(path)


def _across(value: float, x: Axis) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * x.place(value) / 100, 1)


def _up(value: float, y: Axis) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y.place(value) / 100, 1)


def done() -> list[str]:
    """The studies whose results are here."""
    return [name for name in STUDIES if (HERE / "results" / f"{name}.json").exists()]


def read(name: str) -> Results:
    return json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for study in done():
        (IMAGES / f"pareto-{study}.svg").write_text(figure(read(study)), encoding="utf-8")
        print(IMAGES / f"pareto-{study}.svg")
