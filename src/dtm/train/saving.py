"""A trained model as one whole folder: gathered from all processes, in the base's names and dtypes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dtm.foundations.files import read_json, write_json
from dtm.train.dropout import as_given


class Saver:
    """Writes the model that a trainer trains; `gathered` is for all processes, `write` for the first."""

    def __init__(self, job: dict[str, Any], tokenizer: Any, model: Any) -> None:
        self.job, self.tokenizer = job, tokenizer
        self.trainer: Any = None
        again = (
            dict(model.named_parameters(remove_duplicate=False)).keys()
            - dict(model.named_parameters()).keys()
        )
        self.dtypes = {
            name: one.dtype for name, one in model.state_dict().items() if name not in again
        }  # tied once

    def gathered(self) -> dict[str, Any] | None:
        """The whole weights where they lie in shards (FSDP, ZeRO-3), in the dtypes that were loaded; else None.

        Precisions that such a trainer computes in, as FSDP 2's fp32 master weights, are not the model's.
        """
        if not is_sharded():
            return None
        trainer = self.trainer
        whole = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        return {name: whole[name].to(dtype) for name, dtype in self.dtypes.items() if name in whole}

    def write(self, output: Path, weights: dict[str, Any] | None) -> None:
        """The model as it is now, or `weights` in its place."""
        save(self.trainer.model, self.tokenizer, self.job, output, weights)


def save(
    model: Any, tokenizer: Any, job: dict[str, Any], output: Path, weights: dict[str, Any] | None = None
) -> None:
    """Write a model folder, or with LoRA an adapter's: the same weights give the same bytes."""
    with as_given(model, job.get("given_dropout") or {}):
        model.save_pretrained(output, state_dict=weights)
    if job["lora"] is None:
        tokenizer.save_pretrained(output)
        return
    path = output / "adapter_config.json"
    config = read_json(path)
    config["base_model_name_or_path"] = job["base_name"]
    for name, value in config.items():  # peft writes sets, in an order that changes from run to run
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            config[name] = sorted(value)
    write_json(path, config)
    (output / "README.md").unlink(missing_ok=True)  # peft's blank card


def is_sharded() -> bool:
    """Whether `accelerate launch` was told to part the weights among processes."""
    return "true" in (os.environ.get("ACCELERATE_USE_FSDP"), os.environ.get("ACCELERATE_USE_DEEPSPEED"))
