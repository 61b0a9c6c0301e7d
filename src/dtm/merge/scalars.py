"""One number a tensor from what a user wrote (see `notation`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dtm.foundations.errors import ConfigError
from dtm.foundations.settings import is_number
from dtm.merge.method import Treatment
from dtm.merge.notation import FORMS, numbers_of

LAYER = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")
FIRST = re.compile(
    r"emb|wte|wpe"
)  # tensors outside the layers: embeddings stand before them, all else behind


def layer_of(name: str) -> int | None:
    """The first number in a tensor's dotted name: `model.layers.3.mlp.experts.5.up.weight` -> 3."""
    match = LAYER.search(name)
    return int(match[1]) if match else None


def depths(names: Iterable[str]) -> dict[str, float]:
    """Each tensor's place from first layer (0.0) to last (1.0)."""
    layers = {name: layer_of(name) for name in names}
    last = max((layer for layer in layers.values() if layer is not None), default=0)
    outside = {name: 0.0 if FIRST.search(name) else 1.0 for name, layer in layers.items() if layer is None}
    return {name: outside[name] if layer is None else layer / last if last else 0.0
            for name, layer in layers.items()}  # fmt: skip


def resolve(value: Any, name: str, depth: float, *, where: object) -> float:
    """The number that `value` gives a tensor; raises ConfigError where it gives none."""
    if is_number(value):
        return float(value)
    if isinstance(value, list | tuple) and value:
        if all(isinstance(one, dict) for one in value):
            return _filtered(value, name, depth, where)
        numbers = [
            resolve(one, name, depth, where=where) for one in value if not isinstance(one, list | dict)
        ]
        if len(numbers) == len(value):
            return float(np.interp(depth, np.linspace(0.0, 1.0, len(numbers)), numbers))
    raise ConfigError(f"{value!r} is not a number{FORMS}", where=where)


def _filtered(rules: Sequence[Any], name: str, depth: float, where: object) -> float:
    for rule in rules:
        if "value" not in rule or rule.keys() - {"filter", "value"}:
            raise ConfigError(f"{rule!r} is not {{filter: ..., value: ...}}", where=where)
        if rule.get("filter") in (None, "*") or str(rule["filter"]) in name:
            return resolve(rule["value"], name, depth, where=where)
    raise ConfigError(f"no filter matches tensor {name!r}", where=where,
                      mend="End the list with {value: ...} for all others")  # fmt: skip


def per_model(value: Any, count: int, name: str, depth: float, *, where: object) -> np.ndarray:
    """fp64 [K]: the number that `value` gives this tensor in each sub-model."""
    values: Any = [value] * count
    if isinstance(value, dict):
        values = value.get("models") if value.keys() == {"models"} else None
        if not isinstance(values, list) or len(values) != count:
            raise ConfigError(f"{value!r} does not give one value for each of {count} models", where=where)
    return np.array([resolve(one, name, depth, where=where) for one in values], np.float64)


def settings_at(treatment: Treatment, count: int, name: str, depth: float) -> dict[str, Any]:
    """A method's settings for one tensor: its Scalars resolved, all others as they are."""
    found = {}
    for key, parameter in treatment.bound.method.settings.items():
        value, where = treatment.bound.settings[key], f"{treatment.name}.{key}"
        if numbers := numbers_of(parameter.annotation):
            one = per_model(value, count, name, depth, where=where) if numbers.each else None
            value = resolve(value, name, depth, where=where) if one is None else one
        found[key] = value
    return found
