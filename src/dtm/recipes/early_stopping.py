"""Early stopping: the best point of one training, chosen on dev and not on test.

Prechelt, "Early stopping - but when?", Neural Networks: Tricks of the Trade, 1998. It is charged with the whole
training: to know that a point is the best, the points behind it must have been looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dtm.foundations.registry import registry
from dtm.foundations.settings import Count


@registry("recipe").register("early_stopping", paper="doi:10.1007/3-540-49430-8_3", chooses=True)
def early_stopping(run: Any, config: Any, *, checkpoints: Count = 10) -> Any:
    """Vanilla fine-tuning's best of so many evenly spaced checkpoints on dev, the last one among them."""
    trained = run.train(config.train, config.base, run.load(config.data), checkpoints=checkpoints)
    best = run.select(trained.checkpoints, on="dev", name="early_stopping")
    return replace(run.charge(best, [trained]), checkpoints=trained.checkpoints)
