"""A blocks method run on arrays in memory: for modifiers, for search, and to check the streaming engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtm.merge.arithmetic import Block, Weights
from dtm.merge.method import Place, Treatment, call
from dtm.merge.random import Random


def merge_updates(
    inner: Treatment, updates_K: Block, weights_K: Weights, settings: dict[str, Any], random: Random
) -> Block:
    """The merged update [...] of updates [K, ...] fp32 by a method that takes updates: its passes, then itself."""
    state: tuple[Any, ...] = ()
    shape, count = updates_K.shape[1:], int(np.prod(updates_K.shape[1:]))
    blocks_K = np.ascontiguousarray(updates_K, np.float32)
    if inner.unit == "element":
        blocks_K = blocks_K.reshape(len(blocks_K), -1)
    given: dict[str, Any] = {
        "updates_K": blocks_K, "models_K": blocks_K, "weights_K": weights_K, "base": None, "state": state,
        "place": Place(random.tensor, 0), "depth": 0.0,
        "random": Random(random.seed, random.tensor, 0, len(blocks_K), count),
    }  # fmt: skip
    for one in inner.passes:
        found = call(one.scan, given, settings)
        if one.settle is not None:
            given["total"], given["count"] = found, count
            found = call(one.settle, given, settings)
        given["state"] = state = (*state, found)
    return call(inner.bound.method.function, given, settings).reshape(shape)
