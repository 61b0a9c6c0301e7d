"""docs/images/pilot.svg, from results/pilot.json: `python benchmarks/testbed/curves.py`.

What three trainings gain and keep along their way, means over seeds, and the ratio of the drops in training and
held-out loss.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from dtm.report.axis import Axis, axis

HERE = Path(__file__).parent
IMAGE = HERE.parent.parent / "docs" / "images" / "pilot.svg"
PANELS = (("gains", "what is taught, percent"), ("costs", "what the base knew, percent"),
          ("drop_ratio", "drop of training loss / of held-out loss"))  # fmt: skip
WIDTH, HEIGHT, TOP, BOTTOM, LEFT, GAP = 900, 310, 48, 52, 44, 24
COLOURS, INK = ("#d6604d", "#2166ac", "#1b9e77"), "#24292f"
PANEL = (WIDTH - LEFT) / len(PANELS)
Results = dict[str, Any]


def figure(results: Results) -> str:
    """An SVG of 900 x 310, without fonts or scripts of its own."""
    curves = [results["curve"], *results["curves"]]
    parts = [_legend([one["arm"] for one in curves])]
    for place, (name, title) in enumerate(PANELS):
        lines = [_line(one, name) for one in curves]
        x, y = Axis(0.0, 1.0, [0.0, 0.5, 1.0]), axis([value for line in lines for _, value in line], wanted=5)
        parts.append(_frame(place, title, x, y))
        for colour, line in zip(COLOURS, lines, strict=True):
            points = " ".join(f"{_across(place, share, x)},{_up(value, y)}" for share, value in line)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{_across(place, share, x)}" cy="{_up(value, y)}" r="2.5" fill="{colour}"/>'
                      for share, value in line]  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="{INK}" role="img"><rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _line(curve: Results, name: str) -> list[tuple[float, float]]:
    """(share, mean over seeds) at every point that has a value."""
    found = []
    for points in zip(*(run["points"] for run in curve["runs"]), strict=True):
        values = [one["drop_ratio"] if name == "drop_ratio" else 100 * one["scores"][name] for one in points]
        if None not in values:
            found.append((points[0]["share"], fmean(values)))
    return found


def _legend(names: list[str]) -> str:
    parts = []
    for place, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        at = LEFT + 150 * place
        parts.append(
            f'<path d="M{at} 14h22" stroke="{colour}" stroke-width="2"/><text x="{at + 28}" y="18">{name}</text>'
        )
    return "".join(parts)


def _frame(place: int, title: str, x: Axis, y: Axis) -> str:
    start, end = _across(place, 0.0, x), _across(place, 1.0, x)
    lines = [f'<text x="{start}" y="{TOP - 8}" font-weight="600">{title}</text>']
    for tick in y.ticks:
        lines.append(f'<path d="M{start} {_up(tick, y)}H{end}" stroke="#e6e8eb"/>')
        lines.append(f'<text x="{start - 6}" y="{_up(tick, y) + 4}" text-anchor="end">{tick:g}</text>')
    for tick in x.ticks:
        text = f"{100 * tick:.0f} %"
        anchor = "start" if tick == 0 else "end" if tick == 1 else "middle"
        lines.append(
            f'<text x="{_across(place, tick, x)}" y="{HEIGHT - BOTTOM + 18}" text-anchor="{anchor}">{text}</text>'
        )
    lines.append(
        f'<text x="{(start + end) / 2}" y="{HEIGHT - 12}" text-anchor="middle">share of the training</text>'
    )
    return "\n".join(lines)


def _across(place: int, value: float, x: Axis) -> float:
    return round(LEFT + PANEL * place + (PANEL - GAP - LEFT) * x.place(value) / 100, 1)


def _up(value: float, y: Axis) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y.place(value) / 100, 1)


if __name__ == "__main__":
    IMAGE.write_text(
        figure(json.loads((HERE / "results" / "pilot.json").read_text(encoding="utf-8"))), encoding="utf-8"
    )
    print(IMAGE)
