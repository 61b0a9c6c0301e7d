"""Training curves: thinned to what a screen can show, and as SVG paths that need no script."""

from __future__ import annotations

from typing import Any

from dtm.report.axis import Axis, axis, label

BUDGET = 6_000  # points of all curves together: more would show nothing on a screen and make the page slow
WINDOW = 9  # the bold line is the mean of this many points
STEP, EPOCH, LOSS = 0, 1, 3
FIELDS = ("step", "epoch", "tokens", "loss", "learning_rate", "grad_norm")


def curves(results: dict[str, Any], colours: dict[str, str], submodels: list[str]) -> dict[str, Any] | None:
    """What the loss figure needs, or None where no model has a point.

    Returns series (name, colour, faint and bold path in a 1000 x 1000 box), ticks in percent,
    `data` for the script ([points, 6] in FIELDS' order a series) and the number of points averaged into one.
    """
    logged = [(curve["model"], curve["points"]) for curve in results["curves"] if curve["points"]]
    logged.sort(key=lambda curve: curve[0] not in submodels)  # baselines last: drawn on top, listed behind
    if not logged:
        return None
    room = max(BUDGET // len(logged), 30)
    group = max(-(-len(points) // room) for _, points in logged)
    thin = [(name, thinned(points, group)) for name, points in logged]
    everywhere = [row for _, rows in thin for row in rows]
    # a baseline takes k times a sub-model's steps: by epoch they lie on one another
    across = EPOCH if all(row[EPOCH] is not None for row in everywhere) else STEP
    furthest = max((row[across] or 0 for row in everywhere), default=0) or 1.0
    x = axis([], include=(0.0, furthest))
    y = axis((row[LOSS] for row in everywhere), wanted=7)
    noisy = max(len(rows) for _, rows in thin) >= 4 * WINDOW

    def drawn(rows: list[list[float | None]]) -> list[float | None]:
        losses = [row[LOSS] for row in rows]
        return smooth(losses) if noisy else losses

    series = [
        {
            "name": name,
            "colour": colours.get(name, "var(--base)"),
            "faint": path([(row[across], row[LOSS]) for row in rows], x, y) if noisy else "",
            "bold": path([(row[across], value) for row, value in zip(rows, drawn(rows), strict=True)], x, y),
            "first": _known(rows, 0),
            "last": _known(rows, -1),
            "role": "submodel" if name in submodels else "baseline",
            "points": len(points),
        }
        for (name, points), (_, rows) in zip(logged, thin, strict=True)
    ]
    return {
        "series": series,
        "x_ticks": [(x.place(tick), label(tick)) for tick in x.ticks],
        "y_ticks": [(y.place(tick), label(tick)) for tick in y.ticks],
        "across": across,
        "across_name": FIELDS[across],
        "group": group,
        "window": WINDOW if noisy else 1,
        "data": [{"name": item["name"], "colour": item["colour"], "rows": rows}
                 for item, (_, rows) in zip(series, thin, strict=True)],
    }  # fmt: skip


def thinned(points: list[dict[str, Any]], group: int) -> list[list[float | None]]:
    """Rows of FIELDS: the last position and the mean measurement of every `group` points in a row."""
    rows = []
    for start in range(0, len(points), group):
        part = points[start : start + group]
        places = [part[-1][name] for name in ("step", "epoch", "tokens")]
        means = [_mean([point[name] for point in part]) for name in ("loss", "learning_rate", "grad_norm")]
        rows.append([_rounded(value) for value in (*places, *means)])
    return rows


def smooth(values: list[float | None], window: int = WINDOW) -> list[float | None]:
    """Centred mean over `window` values; at the ends over fewer, as many on either side; None stays None."""
    smoothed = []
    for index, value in enumerate(values):
        half = min(window // 2, index, len(values) - 1 - index)
        smoothed.append(None if value is None else _mean(values[index - half : index + half + 1]))
    return smoothed


def path(points: list[tuple[Any, Any]], x: Axis, y: Axis) -> str:
    """An SVG path in a 1000 x 1000 box, y upwards; a missing value is a gap, a lone point a dot."""
    parts, pen = [], "M"
    for across, up in points:
        if across is None or up is None:
            pen = "M"
            continue
        place = f"{10 * x.place(across):.0f} {1000 - 10 * y.place(up):.0f}"
        parts.append(f"{pen}{place}" + (f"L{place}" if pen == "M" else ""))
        pen = "L"
    return "".join(parts)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _known(rows: list[list[float | None]], position: int) -> float | None:
    known = [row[LOSS] for row in rows if row[LOSS] is not None]
    return known[position] if known else None


def _rounded(value: float | None) -> float | None:
    """Five significant digits: the page is read by eye, `results.json` has the rest."""
    if value is None:
        return None
    return int(value) if float(value).is_integer() else float(f"{value:.5g}")
