"""The ensemble of the sub-models: the mean of their next-token probabilities, at K times the cost of an answer.

Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep ensembles",
arXiv:1612.01474; for sub-models of portions, Li et al., "Branch-Train-Merge", arXiv:2208.03306, and an ablation of
Disperse-Then-Merge, arXiv:2405.13432.
"""

from __future__ import annotations

from typing import Any

from dtm.foundations.registry import registry


@registry("recipe").register("ensemble", paper="arXiv:1612.01474", ensemble=True)
def ensemble(run: Any, config: Any) -> Any:
    """The sub-models side by side, their probabilities averaged: for evaluation only, there are no weights to keep."""
    portions = run.disperse(config.disperse, run.load(config.data))
    return run.ensemble(run.train_each(config.train, config.base, portions), name="ensemble")
