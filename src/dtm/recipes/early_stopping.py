"""Early stopping: the best point of one training, chosen on dev and not on test.

Prechelt, "Early stopping - but when?", Neural Networks: Tricks of the Trade, 1998. It is charged with the whole
training: to know that a point is the best, the points behind it must have been looked at.
"""

from __future__ import annotations

from typing import Any

from dtm.foundations.registry import registry


@registry("recipe").register("early_stopping", paper="doi:10.1007/3-540-49430-8_3", chooses=True)
def early_stopping(run: Any, config: Any, *, checkpoints: int = 10) -> Any:
    """Vanilla fine-tuning's best of so many evenly spaced checkpoints on dev, the last one among them."""
    trained = run.train(config.train, config.base, run.load(config.data), checkpoints=checkpoints)
    return run.charge(run.select(trained.checkpoints, on="dev", name="early_stopping"), [trained])
