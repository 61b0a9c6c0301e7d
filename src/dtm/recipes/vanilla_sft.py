"""Vanilla supervised fine-tuning: one model on all the data, what every other recipe is compared with."""

from __future__ import annotations

from typing import Any

from dtm.foundations.registry import registry


@registry("recipe").register("vanilla_sft")
def vanilla_sft(run: Any, config: Any) -> Any:
    """One model, trained once on all the data."""
    return run.train(config.train, config.base, run.load(config.data))
