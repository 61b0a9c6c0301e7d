"""Array operations that methods share: fp32 in and out, fp64 inside sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtm.foundations.errors import ConfigError
from dtm.merge.kernels import kernels

Block = NDArray[np.float32]
Weights = NDArray[np.float64]


def normalized(weights_K: Weights) -> Weights:
    """Weights that sum to 1; raises ConfigError where they sum to 0."""
    total = weights_K.sum()
    if total == 0:
        raise ConfigError("the weights sum to 0 and are to be normalized", mend="Set `normalize: false`")
    return weights_K / total


def weighted_sum(blocks_K: Block, weights_K: Weights) -> Block:
    """sum over k of weights[k] blocks[k]: [K, ...] fp32 to [...] fp32, added in fp64 and rounded once."""
    out = np.empty(blocks_K.shape[1:], np.float32)
    rows_K = blocks_K.reshape(blocks_K.shape[0], -1)
    kernels().weighted_sum(rows_K, np.ascontiguousarray(weights_K, np.float64), out.reshape(-1))
    return out


def as_float32(values: Any) -> Block:
    return np.ascontiguousarray(values, np.float32)
