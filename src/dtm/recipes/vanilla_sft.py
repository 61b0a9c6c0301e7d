"""Vanilla supervised fine-tuning: one model on all the data, what every other recipe is compared with."""

from __future__ import annotations

from typing import Any

from dtm.foundations.registry import registry
from dtm.foundations.settings import Whole


@registry("recipe").register("vanilla_sft")
def vanilla_sft(run: Any, config: Any, *, checkpoints: Whole = 0) -> Any:
    """One model, trained once on all the data; `checkpoints` evenly spaced points of the run are kept."""
    return run.train(config.train, config.base, run.load(config.data), checkpoints=checkpoints)
