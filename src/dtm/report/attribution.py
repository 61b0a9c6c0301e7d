"""What each portion costs or helps, by merging without it: a row a portion, a cell a benchmark."""

from __future__ import annotations

from typing import Any

from dtm.report import palette
from dtm.report.axis import axis
from dtm.report.wording import interval, is_share, probability, signed


def attribution(found: dict[str, Any]) -> dict[str, Any] | None:
    """The figure of `attribution.json` (see `dtm.pipeline.attribute`), or None where nothing was attributed.

    One block a benchmark, with its own axis, for losses and shares have different units: in it a dot and the
    95 % interval of each portion. Above 0 the portion helps.
    """
    rows = [*(found.get("tasks") or []), *(found.get("heldout") or [])]
    if not rows:
        return None
    count = len(found.get("portions") or []) or 1 + max(row["portion"] for row in rows)
    blocks: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        blocks.setdefault(_benchmark(row), []).append(row)
    return {
        "blocks": [_block(name, group, count) for name, group in blocks.items()],
        "note": found.get("note") or "", "count": count,
        "legend": [(f"portion {k}", palette.submodel(k, count)) for k in range(count)],
    }  # fmt: skip


def _block(name: str, rows: list[dict[str, Any]], count: int) -> dict[str, Any]:
    share = is_share(rows[0].get("metric") or "loss", [row["all"] for row in rows])
    ends = [row[end] for row in rows for end in ("low", "high", "difference")]
    scale = axis(ends, wanted=5, include=(0.0,), least=0.01)
    return {
        "name": name,
        "reached": signed(rows[0]["all"], share).lstrip("+"),
        "ticks": [(scale.place(tick), signed(tick, share).removesuffix(".0")) for tick in scale.ticks],
        "zero": scale.place(0.0),
        "rows": [_row(row, share, scale, count) for row in rows],
    }


def _row(row: dict[str, Any], share: bool, scale: Any, count: int) -> dict[str, Any]:
    left, right = scale.place(row["low"]), scale.place(row["high"])
    return {
        "portion": row["portion"], "colour": palette.submodel(row["portion"], count), "verdict": row["verdict"],
        "value": signed(row["difference"], share), "bounds": interval(row["low"], row["high"], share, sign=True),
        "without": signed(row["without"], share).lstrip("+"),
        "p": probability(row["p_holm"]) if row.get("p_holm") is not None else "",
        "at": scale.place(row["difference"]), "left": left, "width": round(right - left, 2),
        "mark": {"helps": "better", "costs": "worse"}.get(row["verdict"], "open"),
    }  # fmt: skip


def _benchmark(row: dict[str, Any]) -> str:
    if "source" in row:
        return "held-out loss" if row["source"] == "all" else f"held-out loss, {row['source']}"
    return f"{row['task']} (chat)" if row.get("format") == "chat" else row["task"]
