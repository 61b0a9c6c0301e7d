"""Training one model on one set of examples: TRL's SFTTrainer under its own settings."""

from __future__ import annotations

from dtm.train.settings import Settings, check_settings, steps_of

__all__ = ["Settings", "check_settings", "steps_of"]
