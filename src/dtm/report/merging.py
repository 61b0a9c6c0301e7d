"""What the merge sections show: how updates lie to one another, and the path of a search for weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from dtm.report import palette
from dtm.report.axis import Axis, axis, label
from dtm.report.curves import path
from dtm.report.wording import MISSING

PAIRS = (
    28  # rows of the heat map by layer; with more pairs there is a row a sub-model, its mean over the others
)
NUMBERED = 12  # sub-models up to which the matrix has room for numbers
LISTED = 300  # rows of a table


def updates(found: dict[str, Any], names: Sequence[str]) -> dict[str, Any] | None:
    """The figures of an inspection (see `dtm.merge.inspection`), or None where it measured nothing.

    `names` are the sub-models', in order. Returns a table of sub-models, the matrix of cosines over all tensors,
    the cosines by layer, and charts of norms, shares and conflicts by layer.
    """
    overall = found.get("overall") or {}
    if not overall.get("norms"):
        return None
    count = len(overall["norms"])
    names = list(names) if len(names) == count else [str(number) for number in range(count)]
    colours = [palette.submodel(number, count) for number in range(count)]
    layers = _in_order(found.get("layers") or {})
    shares = overall.get("shares") or [None] * count
    return {
        "models": [{"name": name, "colour": colour, "norm": _figure(norm), "share": _percent(share),
                    "cosine": _figure(_mean_cosine(overall, number), 2)}
                   for number, (name, colour, norm, share)
                   in enumerate(zip(names, colours, overall["norms"], shares, strict=True))],
        "merged_norm": _figure(overall.get("merged_norm")),
        "conflict": _percent(overall.get("sign_conflict")),
        "matrix": _matrix(overall["cosines"], names) if count > 1 else None,
        "numbered": count <= NUMBERED,
        "by_layer": _by_layer(layers, names) if count > 1 and len(layers) > 1 else None,
        "charts": _charts(layers, names, colours),
    }  # fmt: skip


def tensors(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of tensors, those with the most conflicts first."""
    rows = [
        {"name": name, "size": one["values"], "conflict": _percent(one["sign_conflict"]),
         "norm": _figure(one["merged_norm"]), "cosine": _figure(_all_cosines(one), 2),
         "order": -(one["sign_conflict"] or 0)}
        for name, one in found.get("tensors", {}).items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (row["order"], row["name"]))[:LISTED]


def search(card: dict[str, Any], names: Sequence[str]) -> dict[str, Any] | None:
    """The path of a search: the score of each candidate, the best so far, and each candidate's weights."""
    entries = card.get("path") or []
    if not entries:
        return None
    count = len(entries[0]["weights"])
    names = list(names) if len(names) == count else [str(number) for number in range(count)]
    scores = [entry.get("score") for entry in entries]
    known = [score for score in scores if score is not None]
    best = scores.index(max(known)) if known else None
    x, y = axis([], include=(1.0, float(max(len(entries), 2)))), axis(known, wanted=5)
    largest = max((abs(weight) for entry in entries for weight in entry["weights"]), default=0) or 1.0
    dots = [
        {"at": x.place(number + 1), "up": y.place(score), "best": number == best,
         "text": f"candidate {number + 1}: {_figure(score)}"}
        for number, score in enumerate(scores) if score is not None
    ]  # fmt: skip
    return {
        "on": ", ".join(card.get("on") or []), "strategy": card.get("search"), "candidates": len(entries),
        "best": None if best is None else best + 1, "score": _figure(card.get("score")),
        "uniform": _figure(card.get("uniform")), "failed": len(entries) - len(known), "dots": dots,
        "line": path(list(enumerate(_running_best(scores), 1)), x, y),
        "x_ticks": [(x.place(tick), label(tick)) for tick in x.ticks if tick == int(tick)],
        "y_ticks": [(y.place(tick), label(tick)) for tick in y.ticks],
        "weights": [{"name": name, "cells": [_heat(entry["weights"][k], f"candidate {n}, {name}", largest)
                                             for n, entry in enumerate(entries, 1)]}
                    for k, name in enumerate(names)],
        "table": [{"number": n, "score": _figure(entry.get("score")), "best": n - 1 == best,
                   "weights": [_figure(weight) for weight in entry["weights"]]}
                  for n, entry in enumerate(entries[:LISTED], 1)],
        "names": names,
    }  # fmt: skip


def _in_order(layers: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Layers by number; what stands outside of them, such as embeddings, last."""
    numbered = sorted((name for name in layers if name.isdecimal()), key=int)
    return [(name, layers[name]) for name in [*numbered, *sorted(layers.keys() - set(numbered))]]


def _matrix(cosines: Sequence[Sequence[float]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"name": one, "cells": [_heat(value, f"{one}, {other}")
                                    for other, value in zip(names, row, strict=True)]}
            for one, row in zip(names, cosines, strict=True)]  # fmt: skip


def _by_layer(layers: Sequence[tuple[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Rows of a heat map with a column a layer: a row a pair, or of many pairs a row a sub-model."""
    pairs = list(combinations(range(len(names)), 2))
    if len(pairs) <= PAIRS:
        rows = [{"name": f"{names[i]}, {names[j]}",
                 "cells": [_heat(one["cosines"][i][j], f"layer {layer}") for layer, one in layers]}
                for i, j in pairs]  # fmt: skip
    else:
        rows = [{"name": name, "cells": [_heat(_mean_cosine(one, k), f"layer {layer}") for layer, one in layers]}
                for k, name in enumerate(names)]  # fmt: skip
    return {"rows": rows, "layers": [layer for layer, _ in layers], "pairs": len(pairs) <= PAIRS}


def _charts(
    layers: Sequence[tuple[str, Any]], names: Sequence[str], colours: Sequence[str]
) -> list[dict[str, Any]]:
    """Lines over the numbered layers; none where there are fewer than two."""
    inside = [one for name, one in layers if name.isdecimal()]
    if len(inside) < 2:
        return []
    x = axis([], include=(0.0, float(len(inside) - 1)))
    numbers = [name for name, _ in layers if name.isdecimal()]
    ticks = [
        (x.place(tick), numbers[int(tick)]) for tick in x.ticks if tick == int(tick) and tick < len(numbers)
    ]
    every = [(name, colour, k) for k, (name, colour) in enumerate(zip(names, colours, strict=True))]
    wanted = [
        ("Norm of the updates",
         [(name, colour, [one["norms"][k] for one in inside]) for name, colour, k in every]
         + [("merged", "var(--merged)", [one["merged_norm"] for one in inside])], (0.0,), label),
        ("Share of each sub-model in the result",
         [(name, colour, [(one["shares"] or [None] * len(names))[k] for one in inside]) for name, colour, k in every],
         (0.0,), _percent),
        ("Values whose signs are in conflict",
         [("", "var(--accent)", [one["sign_conflict"] for one in inside])], (0.0,), _percent),
    ]  # fmt: skip
    return [
        _chart(title, lines, include, words, x, ticks)
        for title, lines, include, words in wanted
        if len(names) > 1 or "conflict" not in title
    ]


def _chart(
    title: str, lines: Any, include: tuple[float, ...], words: Any, x: Axis, ticks: Any
) -> dict[str, Any]:
    y = axis((value for *_, values in lines for value in values), wanted=4, include=include)
    drawn = [{"name": name, "colour": colour, "path": path(list(enumerate(values)), x, y)}
             for name, colour, values in lines]  # fmt: skip
    return {"title": title, "lines": drawn, "x_ticks": ticks,
            "y_ticks": [(y.place(tick), words(tick)) for tick in y.ticks]}  # fmt: skip


def _heat(value: float | None, title: str, largest: float = 1.0) -> dict[str, Any]:
    """A cell: its number in words, how strong its colour is, and which of the two colours."""
    if value is None:
        return {"text": MISSING, "title": f"{title}: {MISSING}", "level": 0, "sign": "plus"}
    level = round(100 * min(abs(value) / largest, 1.0))
    text = _figure(value, 2)
    return {
        "text": text,
        "title": f"{title}: {_figure(value)}",
        "level": level,
        "sign": "plus" if value >= 0 else "minus",
    }


def _mean_cosine(one: dict[str, Any], number: int) -> float | None:
    """The mean cosine of one sub-model's update with the others'."""
    others = [
        value for other, value in enumerate(one["cosines"][number]) if other != number and value is not None
    ]
    return fmean(others) if others else None


def _all_cosines(one: dict[str, Any]) -> float | None:
    pairs = [one["cosines"][i][j] for i, j in combinations(range(len(one["norms"])), 2)]
    return fmean(pairs) if pairs else None


def _running_best(scores: Sequence[float | None]) -> list[float | None]:
    best, found = -math.inf, []
    for score in scores:
        best = best if score is None else max(best, score)
        found.append(None if best == -math.inf else best)
    return found


def _figure(value: float | None, digits: int = 4) -> str:
    if value is None:
        return MISSING
    text = f"{value:.{digits}f}" if digits == 2 else f"{value:.{digits}g}"
    return ("0.00" if text == "-0.00" else text).replace("-", "−")


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.3g} %".replace("-", "−")
