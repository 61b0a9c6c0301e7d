"""What the sections of the page without an axis show, as plain dictionaries for the template."""

from __future__ import annotations

import json
from typing import Any

from dtm.report import palette
from dtm.report.board import Board
from dtm.report.wording import MISSING, count, duration, plural, short

BARS = 20  # stages with a bar
LISTED = 6  # items of a list in the merge card
DRAWN = (
    "weights",
    "inspection",
    "search",
    "inputs",
)  # facts of the merge with figures, and what is in its card


def colours(scores: Board) -> dict[str, str]:
    """A CSS colour for each model."""
    submodels, baselines = scores.of_role("submodel"), scores.of_role("baseline")
    return {
        name: palette.model(name, row["role"], submodels, baselines) for name, row in scores.models.items()
    }


def facts(results: dict[str, Any], scores: Board) -> list[tuple[str, str, str]]:
    """What was run at a glance: (label, value, further words)."""
    run, rows, listed = results["run"], results["data"], results["stages"]
    model = scores.models.get(scores.subject or "", {"tokens": None, "steps": None})
    spent = sum(stage["seconds"] or 0 for stage in listed if not stage["reused"])
    reused = sum(bool(stage["reused"]) for stage in listed)
    choices = [f"{name} {run[name]}" for name in ("k", "seed") if run[name] is not None]
    lines: list[tuple[str, Any, str]] = [
        ("base", run["base"], ""),
        ("recipe", run["recipe"], ", ".join(choices)),
        (
            "rows",
            rows["kept"] and count(rows["kept"]),
            f"of {count(rows['read'])} read" if rows["read"] else "",
        ),
        ("trained tokens", model["tokens"] and short(model["tokens"]), _steps(model["steps"])),
        ("time", listed and duration(spent), f"{reused} of {len(listed)} stages reused" if reused else ""),
    ]
    return [(name, value, more) for name, value, more in lines if value]


def portions(results: dict[str, Any]) -> dict[str, Any] | None:
    """A bar a portion, as long as its rows, cut into its sources; terms and examples behind it."""
    listed = results["portions"]
    if not listed:
        return None
    totals: dict[str, float] = {}
    for portion in listed:
        for name, rows in portion["sources"].items():
            totals[name] = totals.get(name, 0) + (rows or 0)
    order = sorted(totals, key=lambda name: (-totals[name], name))
    tint = {name: palette.source(index, len(order)) for index, name in enumerate(order)}
    longest = max(portion["rows"] or 0 for portion in listed) or 1
    drawn = [
        portion
        | {
            "index": position if portion["index"] is None else portion["index"],
            "parts": _parts(portion["sources"], order, tint),
            "width": _percent(portion["rows"], longest),
            "colour": palette.submodel(position, len(listed)),
            "moved": _moved(results["growing"]["portions"], position),
            "dropped": any(one["portion"] == position for one in results["dropped"]),
            "shared": _shared(portion),
        }
        for position, portion in enumerate(listed)
    ]
    legend = [(name, tint[name], totals[name]) for name in order]
    grown = any(portion["moved"] for portion in drawn)
    return {"rows": drawn, "legend": legend, "compact": len(listed) > 16, "grown": grown}


def _moved(grown: list[dict[str, Any]], number: int) -> str:
    """What became of a kept portion's rows: `980 kept, 20 joined, 3 left`; empty where none was kept."""
    found = next((one for one in grown if one["portion"] == number), None)
    if found is None:
        return ""
    words = [] if found["was"] is None else [f"{count(found['kept'])} kept"]
    words += [f"{count(found[name])} {name}" for name in ("joined", "left") if found[name]]
    copies = [
        f"{count(found[f'copies_{name}'])} {name}" for name in ("joined", "left") if found[f"copies_{name}"]
    ]
    words += [f"copies: {', '.join(copies)}"] if copies else []
    return ", ".join(words) + (f"; {found['submodel']}" if found["submodel"] else "")


def _shared(portion: dict[str, Any]) -> str:
    """How many of a portion's rows others have as well: `120 copied, 40 in all`."""
    words = ((portion["copied"], "copied"), (portion["replayed"], "in all"))
    return ", ".join(f"{count(number)} {word}" for number, word in words if number)


def data(results: dict[str, Any]) -> dict[str, Any] | None:
    """Sources and the reasons for which rows were not used."""
    found = results["data"]
    if not found["sources"] and not found["reasons"] and found["read"] is None:
        return None
    most = max((reason["count"] or 0 for reason in found["reasons"]), default=0) or 1
    reasons = [reason | {"width": _percent(reason["count"], most)} for reason in found["reasons"]]
    fields = ("read", "kept", "dropped", "duplicates", "tokens", "trained_tokens")
    totals = {name: sum(source[name] or 0 for source in found["sources"]) for name in fields}
    return found | {"reasons": reasons, "totals": totals if len(found["sources"]) > 1 else None}


def stages(results: dict[str, Any]) -> dict[str, Any] | None:
    """A bar a stage, as long as its time; of many stages the longest have bars, and all are in `every`."""
    listed = results["stages"]
    if not listed:
        return None
    longest = max(stage["seconds"] or 0 for stage in listed) or 1
    every = [
        stage
        | {
            "time": MISSING if stage["reused"] and not stage["seconds"] else duration(stage["seconds"]),
            "width": _percent(stage["seconds"], longest),
        }
        for stage in listed
    ]
    by_time = sorted(range(len(every)), key=lambda index: -(every[index]["seconds"] or 0))
    shown = [every[index] for index in sorted(by_time[:BARS])]
    spent = sum(stage["seconds"] or 0 for stage in listed if not stage["reused"])
    return {
        "rows": shown,
        "every": every if len(shown) < len(every) else [],
        "spent": duration(spent),
        "reused": any(stage["reused"] for stage in listed),
    }


def merge(results: dict[str, Any], scores: Board) -> dict[str, Any] | None:
    """The merge card: weights as bars, everything else the engine said as name and text."""
    found, weights = results["merge"], results["merge"]["weights"]
    rest = {name: value for name, value in found.items() if name not in DRAWN and _says(value)}
    if not rest and not weights:
        return None
    largest = max((abs(weight) for weight in weights if weight is not None), default=0) or 1
    names, k = scores.of_role("submodel"), len(weights)
    bars = [
        {
            "name": names[index] if len(names) == k else str(index),
            "value": MISSING if weight is None else f"{weight:.4g}",
            "width": _percent(abs(weight or 0), largest),
            "colour": palette.submodel(index, k),
        }
        for index, weight in enumerate(weights)
    ]
    same = f"{bars[0]['value']} for each of {k}" if k > 4 and len(set(weights)) == 1 else ""
    card = [(name.replace("_", " "), _text(value)) for name, value in rest.items()]
    return {"facts": card, "weights": bars, "same": same}


def _says(value: Any) -> bool:
    """Whether there is anything to show: a mapping with nothing but None in it tells nothing."""
    return any(map(_says, value.values())) if isinstance(value, dict) else value not in (None, "", [])


def _parts(sources: dict[str, Any], order: list[str], tint: dict[str, str]) -> list[dict[str, Any]]:
    whole = sum(rows or 0 for rows in sources.values()) or 1
    return [
        {"name": name, "rows": sources[name], "colour": tint[name], "width": _percent(sources[name], whole)}
        for name in order
        if sources.get(name)
    ]


def _percent(part: float | None, whole: float) -> float:
    return round(100 * (part or 0) / whole, 2)


def _steps(number: int | None) -> str:
    return plural(number, "step") if number else ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and not any(isinstance(item, dict | list) for item in value.values()):
        return ", ".join(f"{name}: {_text(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        more = f" and {len(value) - LISTED} more" if len(value) > LISTED else ""
        return ", ".join(_text(item) for item in value[:LISTED]) + more
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
