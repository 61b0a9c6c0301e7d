"""The ingredients of a soup: trainings on all the data that differ in their settings or in their seed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any


def ingredients(
    run: Any,
    config: Any,
    learning_rates: Sequence[float],
    overrides: Sequence[dict[str, Any]],
    seeds: Sequence[int],
) -> list[Any]:
    """A model for each learning rate, override of `train.args` and seed; an empty list leaves the run file's.

    Seed 0 is vanilla fine-tuning's own, others draw another order of the rows. Every training starts from one
    adapter (`train.same_adapter_init`), as a soup's ingredients start from one base.
    """
    rates = [{"learning_rate": rate} for rate in learning_rates] or [{}]
    examples = run.load(config.data)
    wanted = enumerate(product(rates, overrides or [{}], seeds))
    return [
        run.train(config.train.but(**rate, **more), config.base, examples, name=f"ingredient-{number}", variant=seed)
        for number, (rate, more, seed) in wanted
    ]  # fmt: skip
