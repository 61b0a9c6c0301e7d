"""Disperse-Then-Merge: split the data, train a sub-model on each portion, average the weights.

Fu, Cai, Liu, Shi, Yan: "Disperse-Then-Merge: Pushing the Limits of Instruction Tuning via Alignment Tax
Reduction", Findings of ACL 2024, arXiv:2405.13432. Main results: K = 4, spherical k-means or random,
uniform average, LoRA r 16 on the MLP, learning rate 3e-4.
"""

from __future__ import annotations

from typing import Any

from dtm.foundations.registry import registry


@registry("recipe").register("disperse_then_merge", paper="arXiv:2405.13432")
def disperse_then_merge(run: Any, config: Any) -> Any:
    """Disperse the data, train a sub-model on each portion, merge them."""
    examples = run.load(config.data)
    portions = run.disperse(config.disperse, examples)
    submodels = run.train_each(config.train, config.base, portions)
    return run.merge(config.merge, config.base, submodels, portions)
