"""What the page shows of a split as a whole: a map of the data, its similarities, and its figures in words."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from dtm.report import palette
from dtm.report.wording import count, listing, plural

WIDE, HIGH, RIM = 1000, 560, 14  # the map's view box
OUTSIDE = (
    0.002  # share of the points, at either end, that may be cut to the rim so that the others are seen apart
)
NUMBERED = 12  # portions up to which the matrix has room for numbers


def split(results: dict[str, Any]) -> dict[str, Any] | None:
    """Everything for the template, or None where nothing is known of the split."""
    found = results["split"]
    drawn = {
        "map": points(found["map"], len(results["portions"])),
        "lines": lines(results),
        "matrix": _matrix(found),
        "sharing": bool(found["sharing"]["rows"]),
    }
    return drawn if any(drawn.values()) else None


def points(found: dict[str, Any], portions: int) -> dict[str, Any] | None:
    """The map: for each portion its colour and its dots, with a title each; one scale for both directions."""
    rows = list(zip(*(found[name] for name in ("x", "y", "portion", "source", "text")), strict=False))
    rows = [row for row in rows if row[0] is not None and row[1] is not None]
    if not rows:
        return None
    k = max(portions, 1 + max(row[2] for row in rows))
    place = _places([row[0] for row in rows], [row[1] for row in rows])
    groups: list[dict[str, Any]] = [
        {"portion": number, "colour": palette.submodel(number, k), "dots": []} for number in range(k)
    ]
    for x, y, portion, source, text in rows:
        left, top = place(x, y)
        groups[portion]["dots"].append({"x": left, "y": top, "title": _title(portion, source, text)})
    return {"groups": [group for group in groups if group["dots"]], "count": len(rows), "of": found["of"],
            "rows": found["rows"], "explained": found["explained"], "wide": WIDE, "high": HIGH}  # fmt: skip


def lines(results: dict[str, Any]) -> list[str]:
    """The figures of the split, a sentence each."""
    found = results["split"]
    alike, agreed, twice = found["similarity"], found["agreement"], found["near_duplicates"]
    uneven = [f"{found['balance'][name]:.2f} in {name.replace('_', ' ')}"
              for name in ("rows", "tokens", "trained_tokens") if found["balance"][name] is not None]  # fmt: skip
    said = [f"Balance: the largest portion over the mean one is {listing(uneven)}."] if uneven else []
    if alike["within"] is not None:
        across = "" if alike["across"] is None else f", {cosine(alike['across'])} across portions"
        said.append(
            f"Similarity: mean cosine of two rows {cosine(alike['within'])} within a portion{across}."
        )
    if agreed["adjusted_rand"] is not None:
        said.append(f"Agreement with sources: adjusted Rand index {cosine(agreed['adjusted_rand'])}, "
                    f"normalised mutual information {cosine(agreed['mutual_information'] or 0)}.")  # fmt: skip
    if twice["groups"] is not None:
        said.append(_twice(twice))
    return [*proposal(found.get("proposal")), *said]


def proposal(found: dict[str, Any] | None) -> list[str]:
    """Why `k: auto` took the K that it did, in one paragraph; nothing where K was given."""
    if not found or not found["k"]:
        return []
    if found.get("pending"):
        return [f"The number of portions (k: auto) depends on what the base makes of the rows, which is not computed "
                f"yet: planned with {found['k']}."]  # fmt: skip
    return [" ".join([f"k: auto took {found['k']}.", *(found["why"] or [])])]


def sharing(found: dict[str, Any] | None) -> list[str]:
    """What portions share and what that costs, in one sentence; nothing where they share nothing."""
    if not found or not found["rows"]:
        return []
    parts = []
    if found["copied"]:
        verb, copies = "is" if found["copied"] == 1 else "are", found["copies"]
        times = f"{count(copies)} {'copy' if copies == 1 else 'copies'}"
        parts.append(f"{plural(found['copied'], 'row')} of a portion {verb} in others as well ({times})")
    if found["replayed"]:
        parts.append(
            f"{plural(found['replayed'], 'row')} {'is' if found['replayed'] == 1 else 'are'} in every one"
        )
    times, what = found["times_trained_tokens"], "trained tokens"
    if times is None:
        times, what = found["times_rows"], "rows"
    return [f"Portions share rows: {listing(parts)}. Together the sub-models see {times:.3g} times the {what} of the "
            "data: what shares nothing trains on less, and is not compute-matched with this."]  # fmt: skip


def contamination(results: dict[str, Any]) -> dict[str, Any] | None:
    """A row a task, and what became of the rows that overlap with it."""
    found = results["data"]["contamination"]
    if not found["tasks"]:
        return None
    rows = [row | {"share": _percent(row["found"], row["compared"])} for row in found["tasks"]]
    return found | {"tasks": rows}


def _twice(found: dict[str, Any]) -> str:
    if not found["groups"]:
        return "Near-duplicates: none."
    crossing = (f"{plural(found['crossing_rows'] or 0, 'row')} of {plural(found['crossing_groups'], 'group')} lie in "
                "several portions" if found["crossing_groups"] else "none lies in several portions")  # fmt: skip
    return f"Near-duplicates: {plural(found['rows'] or 0, 'row')} in {plural(found['groups'], 'group')}; {crossing}."


def _places(xs: list[float], ys: list[float]) -> Any:
    """A function from coordinates to whole places in the view box; both directions have the same unit."""
    (left, right), (low, high) = _bulk(xs), _bulk(ys)
    unit = min((WIDE - 2 * RIM) / max(right - left, 1e-9), (HIGH - 2 * RIM) / max(high - low, 1e-9))

    def place(x: float, y: float) -> tuple[int, int]:
        across, up = WIDE / 2 + unit * (x - (left + right) / 2), HIGH / 2 - unit * (y - (low + high) / 2)
        return round(min(max(across, RIM), WIDE - RIM)), round(min(max(up, RIM), HIGH - RIM))

    return place


def _bulk(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    spare = int(OUTSIDE * len(ordered))
    return ordered[spare], ordered[-1 - spare]


def _matrix(found: dict[str, Any]) -> dict[str, Any] | None:
    """Cosines between portions; the strongest colour is the largest of them."""
    cells = found["similarity"]["portions"]
    known = [abs(value) for row in cells for value in row if value is not None]
    if len(cells) < 2 or not known:
        return None
    largest = max(max(known), 1e-9)
    rows = [
        {
            "colour": palette.submodel(i, len(cells)),
            "cells": [_heat(i, j, value, largest) for j, value in enumerate(row)],
        }
        for i, row in enumerate(cells)
    ]
    return {"rows": rows, "numbered": len(cells) <= NUMBERED, "nearest": _nearest(cells)}


def _nearest(cells: list[list[float | None]]) -> str:
    """The two portions that are most alike."""
    pairs = [
        (value, i, j) for i, j in combinations(range(len(cells)), 2) if (value := cells[i][j]) is not None
    ]
    if len(pairs) < 2:
        return ""
    value, i, j = max(pairs, key=lambda pair: (pair[0], -pair[1], -pair[2]))
    return f"Most alike are portions {i} and {j} ({cosine(value)})."


def _heat(one: int, other: int, value: float | None, largest: float) -> dict[str, Any]:
    what = f"within portion {one}" if one == other else f"portions {one} and {other}"
    if value is None:
        return {"text": "–", "title": f"{what}: no pair", "level": 0, "sign": "plus"}
    sign = "plus" if value >= 0 else "minus"
    return {"text": cosine(value), "title": f"{what}: {cosine(value)}", "sign": sign,
            "level": round(100 * abs(value) / largest)}  # fmt: skip


def _title(portion: int, source: str | None, text: str | None) -> str:
    return " · ".join(part for part in (f"portion {portion}", source, text) if part)


def cosine(value: float) -> str:
    text = f"{value:.2f}"
    return ("0.00" if text == "-0.00" else text).replace("-", "−")


def _percent(part: int | None, whole: int | None) -> str:
    return "" if not whole or part is None else f"{100 * part / whole:.1f}\u00a0%"


def sentence(found: dict[str, Any] | None) -> str:
    """The overlap with all tasks in one sentence, for a terminal; empty where none was compared."""
    if not found or not found["tasks"]:
        return ""
    hit = [
        f"{row['task']} {count(row['found'])} of {count(row['compared'])} items"
        for row in found["tasks"]
        if row["found"]
    ]
    rows = plural(found["rows"] or 0, "row")
    if not hit:
        return f"Overlap with tasks ({found['ngram']} words in a row): none."
    return f"Overlap with tasks: {listing(hit)} in {rows}{', dropped' if found['dropped'] else ''}."
