"""Dropout of the model itself, by the names that its config has for it; a setting without effect is an error.

Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15 (2014). It is a setting
of one training: the model that comes of it has the config of the one that it started from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError
from dtm.foundations.registry import unknown
from dtm.foundations.settings import is_number

WHERE = "train.dropout"
MARKS = ("dropout", "pdrop")


def check_rates(dropout: Mapping[str, Any] | None, where: Any) -> list[DtmError]:
    """Rates that are none; whether the model has those names, `check_dropout` knows."""
    return [
        ConfigError(f"{rate!r} is no rate of 0 or more and below 1", where=where(f"{WHERE}.{name}"))
        for name, rate in (dropout or {}).items() if not (is_number(rate) and 0 <= rate < 1)
    ]  # fmt: skip


def check_dropout(base: Path, dropout: Mapping[str, float], where: Any = str) -> None:
    """Raise where the base's config has no such rate; `where(key)` locates a key."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base, local_files_only=True)
    known = [name for name, value in config.to_dict().items() if name.endswith(MARKS) and is_number(value)]
    for name in dropout:
        if name not in known:
            raise unknown("dropout of this model's config", name, known, where=where(f"{WHERE}.{name}"))


def check_effect(model: Any, dropout: Mapping[str, float]) -> None:
    """Raise ConfigError where two passes in training give the same: the architecture ignores the setting."""
    import torch

    if not any(dropout.values()):
        return
    training, ids = model.training, torch.arange(1, 9, device=model.device)[None]
    model.train()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = (model(input_ids=ids, use_cache=False).logits for _ in range(2))
    model.train(training)
    if torch.equal(first, second):
        names = ", ".join(dropout)
        raise ConfigError(f"{type(model).__name__} trains the same with {names} as without", where=WHERE,
                          mend="Leave it out; with LoRA, lora_dropout always works")  # fmt: skip


@contextmanager
def as_given(model: Any, given: Mapping[str, Any]) -> Iterator[None]:
    """The model's config with the rates that it came with, while it is saved."""
    ours = {name: getattr(model.config, name) for name in given}
    for name, value in given.items():
        setattr(model.config, name, value)
    try:
        yield
    finally:
        for name, value in ours.items():
            setattr(model.config, name, value)


def given_rates(base: Path, dropout: Mapping[str, float]) -> dict[str, Any]:
    """What the base's config says for those names."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base, local_files_only=True)
    return {name: getattr(config, name) for name in dropout}
