"""Greedy soup: from the best model on, each other one joins the mean where that does not lower the score on dev.

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time", arXiv:2203.05482, algorithm 1. It is charged with all the trainings.
"""

from __future__ import annotations

from typing import Annotated, Any

from dtm.foundations.registry import registry
from dtm.foundations.settings import Each, Within
from dtm.recipes.ingredients import ingredients


@registry("recipe").register("greedy_soup", paper="arXiv:2203.05482", chooses=True)
def greedy_soup(
    run: Any,
    config: Any,
    *,
    learning_rates: Annotated[list[float], Each(Within(above=0), least=0)] = [],  # noqa: B006 - never changed
    overrides: list[dict[str, Any]] = [],  # noqa: B006
    seeds: Annotated[list[int], Each(Within(0))] = [0],  # noqa: B006
) -> Any:
    """The mean of those trainings on all the data that a greedy search on dev takes in."""
    trained = ingredients(run, config, learning_rates, overrides, seeds)
    linear = config.merge.using("linear")
    best, *others = run.rank(trained, on="dev")
    chosen, soup = [best], run.merge(linear, config.base, [best], name=f"soup of {best.name}")
    for model in others:
        larger = run.merge(linear, config.base, [*chosen, model], name=f"{soup.name} + {model.name}")
        if run.select([larger, soup], on="dev") is larger:  # of equals the larger one, as in the paper
            chosen, soup = [*chosen, model], larger
    return run.charge(run.merge(linear, config.base, chosen, name="greedy_soup"), trained)
