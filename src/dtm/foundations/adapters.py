"""LoRA as the run file says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dtm.foundations.errors import ConfigError


def lora_config(settings: Mapping[str, Any]) -> Any:
    """peft's LoraConfig. Raises ConfigError on what it refuses."""
    from peft import LoraConfig

    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM", **settings})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"peft's LoraConfig refused the settings: {error}", where="train.lora") from error
