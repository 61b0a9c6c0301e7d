"""The mean of the last checkpoints of one training.

Kaddour, "Stop wasting my time! Saving days of ImageNet and BERT training with latest weight averaging",
arXiv:2209.14981; Izmailov et al., "Averaging weights leads to wider optima and better generalization",
arXiv:1803.05407, which trains at a constant or cyclical rate (set `lr_scheduler_type: constant` for that).
"""

from __future__ import annotations

from typing import Any

from dtm.foundations.registry import registry
from dtm.foundations.settings import Count, Fraction


@registry("recipe").register("checkpoint_average", paper="arXiv:2209.14981")
def checkpoint_average(run: Any, config: Any, *, checkpoints: Count = 10, share: Fraction = 0.5) -> Any:
    """The mean of vanilla fine-tuning's checkpoints in the last `share` of its steps, the final model among them."""
    trained = run.train(config.train, config.base, run.load(config.data), checkpoints=checkpoints)
    late = [point for point in trained.checkpoints if point.facts["share"] > 1 - share]
    mean = run.merge(config.merge.using("linear"), config.base, late, name="checkpoint_average")
    return run.charge(mean, [trained])
