"""What `train:` may say, checked without importing TRL; how many steps it means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dtm.foundations.dataclass_fields import Setting, settings_of
from dtm.foundations.errors import ConfigError, DtmError
from dtm.foundations.registry import Bound, unknown
from dtm.train.dropout import check_rates
from dtm.train.regularise import check_regulariser
from dtm.train.reporting import check_report_to

# Settings that do not change what is learnt; the run decides them or they only report.
UNKEYED = ("logging_", "save_", "hub_", "report_to", "run_name", "output_dir", "push_to_hub", "disable_tqdm",
           "dataloader_num_workers", "dataloader_pin_memory", "log_level", "project", "trackio")  # fmt: skip
# Ours to set: a user who sets them would break resuming, or be ignored.
RENDERED, EVALUATED = "the data is rendered before: see docs/data.md", "`evaluate:` says what is evaluated"
RESUMES = "a killed run would go on with other numbers than an undisturbed one"
RESERVED = {
    "output_dir": "the top-level output_dir says where results go",
    "seed": "the top-level seed governs all",
    "data_seed": "the top-level seed governs all",
    "resume_from_checkpoint": "a run always resumes",
    "save_only_model": RESUMES,
    "ignore_data_skip": RESUMES,
    "auto_find_batch_size": "the batch size is part of what is reproduced",
    "do_train": "`dtm run` trains",
    "do_eval": EVALUATED,
    "eval_strategy": EVALUATED,
    "load_best_model_at_end": EVALUATED,
    "assistant_only_loss": RENDERED,
    "completion_only_loss": RENDERED,
    "dataset_text_field": RENDERED,
    "dataset_kwargs": RENDERED,
    "chat_template_path": "use chat.template",
    "eos_token": "use chat.template",
    "pad_token": "the prepared base has it",
    "model_init_kwargs": "use the top-level model:",
    "use_cpu": "use launch.device",
}
DEFAULTS: dict[str, Any] = {
    "learning_rate": 2e-5, "num_train_epochs": 1, "per_device_train_batch_size": 8, "max_length": 1024,
    "lr_scheduler_type": "cosine", "warmup_steps": 0.03, "gradient_checkpointing": False,
}  # fmt: skip
STARTS = (True, False, "gaussian", "orthogonal")  # of adapters that leave the base as it is
LORA_DEFAULTS: dict[str, Any] = {
    "r": 16,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "target_modules": "all-linear",
}


@dataclass(frozen=True)
class Settings:
    """Training settings with defaults filled in; `lora` None is full fine-tuning."""

    args: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] | None = None
    same_adapter_init: bool = True
    regularise: Bound | None = None
    dropout: Mapping[str, float] | None = None

    @property
    def keyed(self) -> dict[str, Any]:
        """What the store's key holds: all but where and how often things are reported or saved."""
        args = {name: value for name, value in self.args.items() if not name.startswith(UNKEYED)}
        lora = None if self.lora is None else dict(self.lora)
        own: dict[str, Any] = {"regularise": self.regularise.key} if self.regularise else {}
        own |= {"dropout": dict(self.dropout)} if self.dropout else {}
        return {
            "args": args,
            "lora": lora,
            "same_adapter_init": self.same_adapter_init if lora else None,
            **own,
        }

    @property
    def batch_size(self) -> int:
        """Rows in one optimizer step of one process."""
        accumulate = int(self.args.get("gradient_accumulation_steps", 1))
        return int(self.args["per_device_train_batch_size"]) * accumulate


def check_settings(
    args: Mapping[str, Any],
    lora: Mapping[str, Any] | None,
    same_adapter_init: bool,
    where: Any,
    regularise: Any = None,
    dropout: Mapping[str, Any] | None = None,
) -> tuple[Settings, list[DtmError]]:
    """Check names and plain types against SFTConfig and LoraConfig; `where(key)` locates a key.

    `regularise` is a section such as `train.regularise`.
    """
    bound, wrong = check_regulariser(regularise, args, lora, where)
    errors = wrong + check_rates(dropout, where)
    errors += check_names(args, "SFTConfig", RESERVED, lambda name: where(f"train.args.{name}"))
    full = {**DEFAULTS, **args}
    if "warmup_ratio" in args and "warmup_steps" not in args:
        full.pop("warmup_steps")
    for name in ("learning_rate", "num_train_epochs", "per_device_train_batch_size"):
        if isinstance(full[name], int | float) and full[name] <= 0:
            errors.append(
                ConfigError(f"{name} must be above 0, not {full[name]}", where=where(f"train.args.{name}"))
            )
    if lora is None:
        return Settings(full, None, same_adapter_init, bound, dropout), errors
    known = settings_of("LoraConfig")
    for name, value in lora.items():
        errors += _check(name, value, known, "LoraConfig", where(f"train.lora.{name}"))
    start = lora.get("init_lora_weights", True)
    if start not in STARTS:
        errors.append(ConfigError(
            f"init_lora_weights: {start} changes the base, and sub-models are merged as updates of it",
            where=where("train.lora.init_lora_weights"), mend="Leave it out, or use gaussian or orthogonal",
        ))  # fmt: skip
    rank = lora.get("r", LORA_DEFAULTS["r"])
    if isinstance(rank, int) and rank < 1:
        errors.append(ConfigError(f"the rank must be 1 or more, not {rank}", where=where("train.lora.r")))
    return Settings(full, {**LORA_DEFAULTS, **lora}, same_adapter_init, bound, dropout), errors


def check_names(
    args: Mapping[str, Any], owner: str, reserved: Mapping[str, str], where: Callable[[str], str]
) -> list[DtmError]:
    """Names and plain types against a config class; those that are ours to set are refused."""
    known, errors = settings_of(owner), list[DtmError]()
    for name, value in args.items():
        if name in reserved:
            errors.append(ConfigError(f"`{name}` cannot be set here: {reserved[name]}", where=where(name)))
        else:
            errors += _check(name, value, known, owner, where(name))
    return errors + check_report_to(args.get("report_to"), where("report_to"))


def _check(name: str, value: Any, known: Mapping[str, Setting], owner: str, place: str) -> list[DtmError]:
    if name not in known:
        return [unknown(f"setting of {owner}", name, known, where=place)]
    kinds = {part.strip() for part in known[name].annotation.split("|")}
    numbers, flags = isinstance(value, int | float), isinstance(value, bool)
    wrong = (
        (kinds <= {"float", "int", "None"} and (flags or not (numbers or value is None)))
        or (kinds <= {"int", "None"} and isinstance(value, float))
        or (kinds <= {"bool", "None"} and not (flags or value is None))
    )
    if not wrong:
        return []
    return [ConfigError(f"{value!r} is not {' or '.join(sorted(kinds))}", where=place)]


def steps_of(settings: Settings, rows: int, processes: int = 1) -> int:
    """Optimizer steps that training on that many rows takes (without packing)."""
    if (limit := int(settings.args.get("max_steps") or -1)) > 0:
        return limit
    batches = math.ceil(rows / int(settings.args["per_device_train_batch_size"]) / processes)
    accumulate = int(settings.args.get("gradient_accumulation_steps", 1))
    per_epoch = max(1, math.ceil(batches / accumulate))
    return math.ceil(per_epoch * float(settings.args["num_train_epochs"]))
