"""Uniform soup: the mean of models that were trained on all the data with different settings.

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time", arXiv:2203.05482.
"""

from __future__ import annotations

from typing import Annotated, Any

from dtm.foundations.registry import registry
from dtm.foundations.settings import Each, Within
from dtm.recipes.ingredients import ingredients


@registry("recipe").register("uniform_soup", paper="arXiv:2203.05482")
def uniform_soup(
    run: Any,
    config: Any,
    *,
    learning_rates: Annotated[list[float], Each(Within(above=0), least=0)] = [],  # noqa: B006 - never changed
    overrides: list[dict[str, Any]] = [],  # noqa: B006
    seeds: Annotated[list[int], Each(Within(0))] = [0],  # noqa: B006
) -> Any:
    """The mean of trainings on all the data over learning rates, overrides of `train.args`, and seeds."""
    trained = ingredients(run, config, learning_rates, overrides, seeds)
    return run.merge(config.merge.using("linear"), config.base, trained, name="uniform_soup")
