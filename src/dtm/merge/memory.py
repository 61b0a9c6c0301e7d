"""A method run on one tensor in memory: for modifiers, for search, and to check the streaming engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dtm.merge.algebra import Lapack
from dtm.merge.arithmetic import Block, Weights
from dtm.merge.inspection import add
from dtm.merge.method import Place, Treatment, call
from dtm.merge.random import Random


def merge_updates(
    treatment: Treatment, updates_K: Block, weights_K: Weights, settings: dict[str, Any], random: Random
) -> Block:
    """The merged update [...] of updates [K, ...] fp32, by a method that takes updates: its passes, then itself."""
    return _merged(treatment, updates_K, None, weights_K, settings, random, {})


def merge_tensor(
    treatment: Treatment,
    base: Block | None,
    models_K: Block,
    weights_K: Weights,
    settings: dict[str, Any],
    *,
    name: str = "tensor",
    seed: int = 0,
    models: Sequence[str] | None = None,
    depth: float = 0.0,
    inner_settings: dict[str, Any] | None = None,
    statistics_K: Block | None = None,
) -> Block:
    """The merged tensor [...] of `base` [...] and `models_K` [K, ...], all fp32: what the engine would write.

    `models` are what random numbers are keyed by, one a model (see `identity`); by default their places.
    """
    random = Random(seed, name, 0, tuple(models or map(str, range(len(models_K)))), models_K[0].size)
    more: dict[str, Any] = {"depth": depth, "statistics_K": statistics_K}
    if treatment.inner is not None:
        inner = treatment.inner
        more["inner"] = lambda updates_K: merge_updates(
            inner, updates_K, weights_K, inner_settings or {}, random
        )
    if not treatment.on_updates:
        return _merged(treatment, models_K, base, weights_K, settings, random, more)
    assert base is not None
    return base + _merged(treatment, models_K - base, base, weights_K, settings, random, more)


def _merged(
    treatment: Treatment,
    blocks_K: Block,
    base: Block | None,
    weights_K: Weights,
    settings: dict[str, Any],
    random: Random,
    more: dict[str, Any],
) -> Block:
    shape, count = blocks_K.shape[1:], blocks_K[0].size
    seen = _seen(treatment.unit, shape)
    blocks_K = np.ascontiguousarray(blocks_K, np.float32).reshape(len(blocks_K), *seen)
    given: dict[str, Any] = {
        "updates_K": blocks_K, "models_K": blocks_K, "base": None if base is None else base.reshape(seen),
        "weights_K": weights_K, "state": (), "place": Place(random.tensor, 0), "count": count, "depth": 0.0,
        "random": Random(random.seed, random.tensor, 0, random.models, count), "algebra": Lapack(),
        **more,
    }  # fmt: skip
    if given.get("statistics_K") is not None and treatment.unit != "tensor":
        given["statistics_K"] = given["statistics_K"].reshape(len(blocks_K), *seen)
    for one in () if treatment.streams_inner else treatment.passes:
        total: dict[str, Any] = {}
        add(total, call(one.scan, {**given, "total": total}, settings) or {})
        found: Any = total
        if one.settle is not None:
            found = call(one.settle, {**given, "total": found}, settings)
        given["state"] = (*given["state"], found)
    return call(treatment.bound.method.function, given, settings).reshape(shape)


def _seen(unit: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which a method of that unit sees a whole tensor."""
    if unit == "tensor":
        return shape
    count = int(np.prod(shape))
    columns = shape[-1] if len(shape) > 1 else count
    return (count // columns, columns) if unit == "row" else (count,)
