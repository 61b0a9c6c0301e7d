"""A sub-model alone: what one portion teaches, without the merge.

A control of Disperse-Then-Merge, arXiv:2405.13432. `mean` is no model: every sub-model is evaluated,
and each item's values are the means over them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from dtm.foundations.registry import registry
from dtm.foundations.settings import Within


@registry("recipe").register("submodel", paper="arXiv:2405.13432", portion="index")
def submodel(run: Any, config: Any, *, index: Annotated[int | Literal["mean"], Within(0)] = "mean") -> Any:
    """The sub-model of one portion, or the mean score over all of them."""
    portions = run.disperse(config.disperse, run.load(config.data))
    if index == "mean":
        return run.mean_score(run.train_each(config.train, config.base, portions), name="submodel")
    (alone,) = run.train_each(config.train, config.base, [portions[index]])
    return replace(alone, name="submodel")
