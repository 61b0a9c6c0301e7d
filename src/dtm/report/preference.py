"""The page's section on new rows and preference pairs, and the sentences about them."""

from __future__ import annotations

from typing import Any

from dtm.report.wording import MISSING

COLUMNS = {"questions": "questions", "sampled": "answers", "right": "right", "with_right": "with a right one",
           "with_wrong": "with a wrong one", "near_duplicates": "near-duplicates", "paired": "paired",
           "made": "pairs"}  # fmt: skip


def preference(results: dict[str, Any]) -> dict[str, Any] | None:
    """Rows of the section of completed results; columns without a figure are left out."""
    found = results["preference"]
    if not found["yields"] and not found["steps"] and not results["augmented"]:
        return None
    shown = [(name, title) for name, title in COLUMNS.items()
             if any(row[name] is not None for row in found["yields"])]  # fmt: skip
    steps = [
        {**step, **{side: _change(step[f"{side}_before"], step[f"{side}_after"]) for side in ("chosen", "rejected")},
         "gained": MISSING if step["accuracy"] is None else f"{100 * step['accuracy']:.1f} %"}
        for step in found["steps"]
    ]  # fmt: skip
    return {
        "augmented": results["augmented"],
        "steps": steps,
        "yields": found["yields"],
        "columns": shown,
        "alarms": alarms(found["steps"]),
    }


def alarms(steps: list[dict[str, Any]]) -> list[str]:
    """What is to be said of steps that made their chosen answers less likely."""
    return [
        f"{step['model']}: the chosen answers became less likely, from {step['chosen_before']:.2f} to "
        f"{step['chosen_after']:.2f} nats an answer; the rejected went from {step['rejected_before']:.2f} to "
        f"{step['rejected_after']:.2f}."
        for step in steps if step["fell"]
    ]  # fmt: skip


def _change(before: float | None, after: float | None) -> str:
    return MISSING if before is None or after is None else f"{before:.2f} → {after:.2f}"
