"""The same portions one after another: what dispersing buys beyond the order in which the data is seen.

A control of Disperse-Then-Merge, arXiv:2405.13432. Each portion is trained on with an optimizer and a
schedule of its own, from the model that the portion before it left; with LoRA, whose adapter is merged first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dtm.foundations.registry import registry


@registry("recipe").register("sequential", paper="arXiv:2405.13432")
def sequential(run: Any, config: Any) -> Any:
    """One model, trained on portion after portion, with a new optimizer and schedule for each."""
    model = config.base
    for rows in run.disperse(config.disperse, run.load(config.data)):
        model = run.train(config.train, model, rows, name=f"sequential-{rows.part}")
    return replace(run.materialise(model), name="sequential")
