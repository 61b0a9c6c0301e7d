"""What recipes of two phases share: the first, on all rows at once or dispersed and merged."""

from __future__ import annotations

from typing import Any, Literal

Start = Literal["vanilla_sft", "disperse_then_merge"]


def first_phase(run: Any, config: Any, start: Start, examples: Any) -> Any:
    """A model tuned on the examples, as the recipe of that name tunes it."""
    if start == "vanilla_sft":
        return run.train(config.train, config.base, examples)
    portions = run.disperse(config.disperse, examples)
    submodels = run.train_each(config.train, config.base, portions)
    return run.merge(config.merge, config.base, submodels, portions)
