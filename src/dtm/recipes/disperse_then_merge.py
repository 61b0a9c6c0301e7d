"""Disperse-Then-Merge: split the data, train a sub-model on each portion, average the weights.

Fu, Cai, Liu, Shi, Yan: "Disperse-Then-Merge: Pushing the Limits of Instruction Tuning via Alignment Tax
Reduction", Findings of ACL 2024, arXiv:2405.13432. Main results: K = 4, spherical k-means or random,
uniform average, LoRA r 16 on the MLP, learning rate 3e-4.

`warmup` is not of that paper: it makes a start for all sub-models, as MERIT (arXiv:2606.01717) has one. Tokens of the
warm-up come on top of those of the sub-models, and are counted.
"""

from __future__ import annotations

from typing import Any

from dtm.foundations.registry import registry
from dtm.foundations.settings import Fraction


@registry("recipe").register("disperse_then_merge", paper="arXiv:2405.13432")
def disperse_then_merge(run: Any, config: Any, *, warmup: Fraction = 0.0) -> Any:
    """Disperse the data, train a sub-model on each portion, merge them.

    `warmup`: a share of the rows that the base is trained on first; sub-models and merge then start from there.
    """
    examples, start = run.load(config.data), config.base
    if warmup:
        start = run.warm_up(config.train, start, examples, warmup)
    portions = run.disperse(config.disperse, examples, start)
    submodels = run.train_each(config.train, start, portions)
    return run.merge(config.merge, start, submodels, portions)
