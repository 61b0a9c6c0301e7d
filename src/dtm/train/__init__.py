"""Training one model on one set of examples, or of pairs: TRL's SFTTrainer and DPOTrainer under their own settings."""

from __future__ import annotations

from dtm.train.dropout import check_dropout
from dtm.train.preference import as_supervised, check_preference
from dtm.train.settings import Settings, check_settings, steps_of

__all__ = ["Settings", "as_supervised", "check_dropout", "check_preference", "check_settings", "steps_of"]
