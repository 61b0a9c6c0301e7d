"""What `prefer:` may say, checked without importing TRL: DPOConfig's names, DPO-ST's values as defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dtm.foundations.dataclass_fields import settings_of
from dtm.foundations.errors import ConfigError, DtmError
from dtm.train.settings import LORA_DEFAULTS, RESERVED, Settings, check_names

REFERENCE = "the reference is the model that the step starts from"
OWN = {
    **RESERVED,
    "precompute_ref_log_probs": f"{REFERENCE}: what it says of the pairs is computed once",
    "sync_ref_model": REFERENCE,
    "ref_model_mixup_alpha": REFERENCE,
    "ref_model_sync_steps": REFERENCE,
    "use_liger_kernel": "its results are not those of the plain kernels",
    "max_length": "train.args.max_length says it",
}
# Wang, Li, Lu, arXiv:2407.18248 (DPO-ST); batch size and schedule as in `train`.
DEFAULTS: dict[str, Any] = {
    "beta": 0.1, "learning_rate": 3e-7, "max_steps": 100, "warmup_steps": 0.1, "per_device_train_batch_size": 8,
    "num_train_epochs": 1, "lr_scheduler_type": "linear", "gradient_checkpointing": False,
}  # fmt: skip


def check_preference(
    args: Mapping[str, Any], lora: Mapping[str, Any] | None, max_length: Any, where: Any
) -> tuple[Settings, list[DtmError]]:
    """Settings of the preference step with defaults filled in, and what is wrong with them; `lora` is that of `train`.

    Whoever says `num_train_epochs` and no `max_steps` means epochs.
    """
    errors = check_names(args, "DPOConfig", OWN, lambda name: where(f"prefer.args.{name}"))
    full = {**DEFAULTS, **args, "max_length": max_length}
    if "num_train_epochs" in args and "max_steps" not in args:
        full["max_steps"] = -1
    for name in ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "beta"):
        if isinstance(full[name], int | float) and full[name] <= 0:
            errors.append(
                ConfigError(f"{name} must be above 0, not {full[name]}", where=where(f"prefer.args.{name}"))
            )
    return Settings(full, None if lora is None else {**LORA_DEFAULTS, **lora}), errors


def as_supervised(args: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the preference step's settings that SFTConfig has too, for a control that trains in its place."""
    known = settings_of("SFTConfig")
    return {
        name: value for name, value in args.items() if name in known and name != "loss_type"
    }  # another loss there
