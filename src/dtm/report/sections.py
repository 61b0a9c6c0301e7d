"""What each section of the page shows, as plain dictionaries for the template."""

from __future__ import annotations

import json
import statistics
from typing import Any

from dtm.report import palette
from dtm.report.axis import Axis, axis, label
from dtm.report.board import Board, Row
from dtm.report.wording import count, duration, interval, loss, score, short, signed

HEAVIEST = 10  # sub-models from here on are drawn without a legend of their own in dot plots


def colours(scores: Board) -> dict[str, str]:
    submodels, baselines = scores.of_role("submodel"), scores.of_role("baseline")
    return {
        name: palette.model(name, model["role"], submodels, baselines)
        for name, model in scores.models.items()
    }


def facts(results: dict[str, Any], scores: Board) -> list[tuple[str, str, str]]:
    """What was run at a glance: (label, value, further words)."""
    run, data = results["run"], results["data"]
    subject = scores.models.get(scores.subject or "", {})
    seconds = [
        stage["seconds"]
        for stage in results["stages"]
        if stage["seconds"] is not None and not stage["reused"]
    ]
    reused = sum(bool(stage["reused"]) for stage in results["stages"])
    return [row for row in (
        ("base", run["base"], ""),
        ("recipe", run["recipe"], f"k = {run['k']}" if run["k"] else ""),
        ("rows", data["kept"] and count(data["kept"]), data["read"] and f"of {count(data['read'])} read"),
        ("trained tokens", subject.get("tokens") and short(subject["tokens"]),
         subject.get("steps") and f"{count(subject['steps'])} steps"),
        ("time", seconds and duration(sum(seconds)), f"{reused} of {len(results['stages'])} stages reused" if reused else ""),
        ("seed", None if run["seed"] is None else str(run["seed"]), run["device"] or ""),
    ) if row[1]]  # fmt: skip


def score_rows(scores: Board) -> dict[str, Any]:
    """The score table, with one common scale for the differences in points."""
    pairs = [pair for row in scores.rows if row.is_share for pair in row.differences.values()]
    scale = axis(
        [end for pair in pairs for end in (pair.low, pair.high, pair.value)], wanted=4, include=(0.0,)
    )
    reach = max(abs(scale.low), abs(scale.high))
    scale = Axis(-reach, reach, [-reach, 0.0, reach])
    rows = []
    for row in scores.rows:
        rows.append({
            "task": row.task, "form": row.format if scores.several_formats else "", "metric": row.metric,
            "n": row.n, "kind": row.kind, "share": row.is_share, "source": row.source,
            "chance": score(row.chance, row.metric) if row.chance is not None else "",
            "cells": [_cell(row, name) for name in scores.shown],
            "pairs": [_pair(row, name, scale) for name in scores.against],
        })  # fmt: skip
    means = [{
        "title": f"mean of {mean.tasks} tasks", "form": mean.format if scores.several_formats else "",
        "cells": [{"model": name, "value": score(cell.value, "share"), "bounds": interval(cell.low, cell.high, "share")}
                  for name, cell in mean.scores.items()],
        "pairs": [_interval_mark(mean.differences.get(name), "share", scale) | {"against": name}
                  for name in scores.against],
    } for mean in scores.means]  # fmt: skip
    ticks = [(scale.place(tick), signed(tick, "share").removesuffix(".0")) for tick in scale.ticks]
    return {"rows": rows, "means": means, "ticks": ticks, "scaled": bool(pairs)}


def _cell(row: Row, name: str) -> dict[str, Any]:
    cell = row.scores.get(name)
    value, bounds = (None, "") if cell is None else (cell.value, interval(cell.low, cell.high, row.metric))
    return {"model": name, "value": score(value, row.metric), "bounds": bounds}


def _pair(row: Row, name: str, scale: Axis) -> dict[str, Any]:
    pair = row.differences.get(name)
    mark = _interval_mark(pair, row.metric, scale if row.is_share else None) | {"against": name}
    if pair is not None:
        mark |= {"verdict": pair.verdict, "p": pair.p_holm}
    return mark


def _interval_mark(pair: Any, metric: str, scale: Axis | None) -> dict[str, Any]:
    if pair is None or pair.value is None:
        return {"value": "", "bounds": "", "verdict": "untested", "p": None, "at": None}
    mark = {"value": signed(pair.value, metric), "bounds": interval(pair.low, pair.high, metric, sign=True),
            "verdict": "open", "p": None, "at": None}  # fmt: skip
    if scale is not None:
        mark |= _span(scale, pair.value, pair.low, pair.high)
    return mark


def _span(scale: Axis, value: float, low: float | None, high: float | None) -> dict[str, Any]:
    """Where a dot and its whisker stand, in percent of the axis."""
    span = {"at": scale.place(value)}
    if low is not None and high is not None:
        span |= {"left": scale.place(low), "width": round(scale.place(high) - scale.place(low), 2)}
    return span


def every_score(results: dict[str, Any]) -> list[dict[str, Any]]:
    """All metrics of all models, for the table behind the figures."""
    return [row | {"text": score(row["value"], row["metric"]), "bounds": interval(row["low"], row["high"], row["metric"])}
            for row in results["results"]["scores"]]  # fmt: skip


def spread(scores: Board, colour: dict[str, str]) -> dict[str, Any] | None:
    """Sub-models as dots beside the merged model, by task: points above the base, or plain scores without one."""
    submodels, base = scores.of_role("submodel"), (scores.of_role("base") or [None])[0]
    rows = [row for row in scores.rows if row.is_share and any(name in row.scores for name in submodels)]
    if not rows:
        return None
    relative = base is not None and all(
        base in row.scores and row.scores[base].value is not None for row in rows
    )

    def shift(row: Row, name: str) -> float | None:
        value = row.scores[name].value if name in row.scores else None
        return value if value is None or not relative else value - row.scores[base].value  # type: ignore[index, operator]

    others = [name for name in scores.shown if name != base or not relative]
    values = [shift(row, name) for row in rows for name in submodels + others]
    scale = axis(values, wanted=6, include=(0.0,) if relative else ())
    lines = []
    for row in rows:
        dots = [_dot(name, shift(row, name), scale, colour, signed if relative else score, scores)
                for name in submodels + others]  # fmt: skip
        found = [dot["raw"] for dot in dots if dot and dot["role"] == "submodel"]
        middle = scale.place(statistics.fmean(found)) if found else None
        lines.append({"label": row.task, "form": row.format if scores.several_formats else "", "middle": middle,
                      "dots": [dot for dot in dots if dot]})  # fmt: skip
    form = signed if relative else score
    return {"rows": lines, "zero": scale.place(0.0) if relative else None, "relative": relative, "base": base,
            "ticks": [(scale.place(tick), form(tick, "share").removesuffix(".0")) for tick in scale.ticks],
            "legend": [(name, colour[name], scores.models[name]["role"]) for name in others]}  # fmt: skip


def _dot(
    name: str, value: float | None, scale: Axis, colour: dict[str, str], form: Any, scores: Board
) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"name": name, "at": scale.place(value), "raw": value, "text": form(value, "share"),
            "colour": colour[name], "role": scores.models[name]["role"]}  # fmt: skip


def heldout(results: dict[str, Any], scores: Board, colour: dict[str, str]) -> dict[str, Any] | None:
    """Held-out loss: a row a source, `all` first, a dot a model, whiskers for all but sub-models."""
    rows = [
        row
        for row in results["results"]["heldout"]
        if row["loss"] is not None and row["model"] in scores.models
    ]
    if not rows:
        return None
    main = [row for row in rows if scores.models[row["model"]]["role"] != "submodel"]
    scale = axis(
        [row["loss"] for row in rows] + [row[end] for row in main for end in ("low", "high")], wanted=6
    )
    sources = sorted({row["source"] for row in rows}, key=lambda name: (name != "all", name))
    lines = []
    for source in sources:
        own = [row for row in rows if row["source"] == source]
        dots = [{"name": row["model"], "text": loss(row["loss"]), "colour": colour[row["model"]],
                 "role": scores.models[row["model"]]["role"],
                 **_span(scale, row["loss"], *((row["low"], row["high"]) if row in main else (None, None)))}
                for row in own]  # fmt: skip
        lines.append({"label": source, "rows": own[0]["rows"], "tokens": own[0]["tokens"],
                      "dots": sorted(dots, key=lambda dot: dot["role"] != "submodel")})  # fmt: skip
    shown = list(dict.fromkeys(row["model"] for row in main))
    return {"rows": lines, "ticks": [(scale.place(tick), label(tick)) for tick in scale.ticks],
            "legend": [(name, colour[name], scores.models[name]["role"]) for name in shown],
            "submodels": len(main) < len(rows), "table": rows}  # fmt: skip


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
    longest = max((portion["rows"] or 0 for portion in listed), default=0) or 1
    lines = []
    for position, portion in enumerate(listed):
        whole = sum(rows or 0 for rows in portion["sources"].values()) or 1
        parts = [{"name": name, "rows": portion["sources"][name], "colour": tint[name],
                  "width": round(100 * portion["sources"][name] / whole, 2)}
                 for name in order if portion["sources"].get(name)]  # fmt: skip
        lines.append(portion | {
            "index": position if portion["index"] is None else portion["index"], "parts": parts,
            "width": round(100 * (portion["rows"] or 0) / longest, 2),
            "colour": palette.submodel(position, len(listed)),
        })  # fmt: skip
    return {
        "rows": lines,
        "legend": [(name, tint[name], totals[name]) for name in order],
        "compact": len(listed) > 16,
    }


def data(results: dict[str, Any]) -> dict[str, Any] | None:
    """Sources and the reasons for which rows were not used."""
    found = results["data"]
    if not found["sources"] and not found["reasons"] and found["read"] is None:
        return None
    most = max((reason["count"] or 0 for reason in found["reasons"]), default=0) or 1
    reasons = [
        reason | {"width": round(100 * (reason["count"] or 0) / most, 2)} for reason in found["reasons"]
    ]
    fields = ("read", "kept", "dropped", "duplicates", "tokens", "trained_tokens")
    totals = {name: sum(source[name] or 0 for source in found["sources"]) for name in fields}
    return found | {"reasons": reasons, "totals": totals if len(found["sources"]) > 1 else None}


def stages(results: dict[str, Any]) -> dict[str, Any] | None:
    listed = results["stages"]
    if not listed:
        return None
    longest = max((stage["seconds"] or 0 for stage in listed), default=0) or 1
    spent = sum(stage["seconds"] or 0 for stage in listed if not stage["reused"])
    rows = [stage | {"time": duration(stage["seconds"]), "width": round(100 * (stage["seconds"] or 0) / longest, 2)}
            for stage in listed]  # fmt: skip
    return {"rows": rows, "spent": duration(spent), "reused": any(stage["reused"] for stage in listed)}


def merge(results: dict[str, Any], scores: Board) -> dict[str, Any] | None:
    """The merge card: weights as bars, everything else the engine said as name and text."""
    found = results["merge"]
    facts = [(name.replace("_", " "), _text(value)) for name, value in found.items()
             if name != "weights" and value not in (None, "", {}, [])]  # fmt: skip
    if not facts and not found["weights"]:
        return None
    largest = max((abs(weight) for weight in found["weights"] if weight is not None), default=0) or 1
    names, k = scores.of_role("submodel"), len(found["weights"])
    weights = [{"name": names[i] if len(names) == k else str(i), "value": "–" if weight is None else f"{weight:.4g}",
                "width": round(100 * abs(weight or 0) / largest, 2), "colour": palette.submodel(i, k)}
               for i, weight in enumerate(found["weights"])]  # fmt: skip
    same = k > 4 and len(set(found["weights"])) == 1
    return {
        "facts": facts,
        "weights": weights,
        "same": f"{weights[0]['value']} for each of {k}" if same else "",
    }


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and all(not isinstance(item, dict | list) for item in value.values()):
        return ", ".join(f"{name}: {_text(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return count(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
