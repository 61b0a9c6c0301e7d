"""Difficulty by counting words: a stand-in for a judge, to try a flow without one. It judges nothing."""

from __future__ import annotations

from dtm.foundations.llm.requests import Request
from dtm.foundations.llm.rules import CannotAnswer
from dtm.foundations.registry import registry
from dtm.foundations.settings import Positive


@registry("rules").register("words")
def words(request: Request, *, scale: Positive = 40.0) -> dict[str, float]:
    """Scores from 1 to 5 for the task `difficulty`: 1 + 4 w / (w + scale), w words of instruction or response."""
    if request.task != "difficulty":
        raise CannotAnswer(f"words has no rule for the task {request.task!r}")
    counts = {side: len(str(request.inputs[side]).split()) for side in ("instruction", "response")}
    return {side: round(1 + 4 * count / (count + scale), 4) for side, count in counts.items()}
