"""Choices, made on dev and told: candidates, their scores, and which was taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dtm.foundations.types import Model
from dtm.pipeline.evaluating import dev_metric, dev_scores

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run


def rank(run: Run, candidates: Sequence[Model]) -> list[Model]:
    """The candidates, the best on dev first; of equals, the one that was named first.

    The choice is noted in `run.choices`. In planning the order is that in which they came.
    """
    scores = dev_scores(run, candidates)
    if scores is None:
        return list(candidates)
    order = sorted(range(len(candidates)), key=lambda number: -scores[number].score)
    told = [{"name": model.name, "score": one.score} for model, one in zip(candidates, scores, strict=True)]
    choice: dict[str, Any] = {
        "for": run.making, "on": "dev", "metric": dev_metric(run), "candidates": told,
        "chosen": candidates[order[0]].name,
    }  # fmt: skip
    run.choices.append(choice)
    return [candidates[number] for number in order]
