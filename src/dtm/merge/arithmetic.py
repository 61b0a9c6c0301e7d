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


def gram(blocks_K: Block) -> Weights:
    """The inner products [K, K] of blocks [K, ...], in fp64."""
    rows_K = np.ascontiguousarray(blocks_K, np.float32).reshape(len(blocks_K), -1)
    found = np.zeros((len(rows_K), len(rows_K)))
    found[np.tril_indices(len(rows_K))] = kernels().products(rows_K, False).sum(axis=1)
    return found + np.tril(found, -1).T


def energies(blocks_K: Block) -> Weights:
    """The inner product [K] of each block [K, ...] with itself, in fp64."""
    rows_K = np.ascontiguousarray(blocks_K, np.float32).reshape(len(blocks_K), -1)
    return kernels().products(rows_K, True).sum(axis=1)


def elected_sum(blocks_K: Block, weights_K: Weights, normalize: bool) -> Block:
    """The weighted sum, or mean, of the values that have the sign of the weighted sum: [K, ...] to [...].

    TIES's elect and disjoint merge (arXiv:2306.01708). Zeros take no part; where all cancel, the positive stay.
    """
    out = np.empty(blocks_K.shape[1:], np.float32)
    rows_K = np.ascontiguousarray(blocks_K).reshape(len(blocks_K), -1)
    kernels().elect(rows_K, np.ascontiguousarray(weights_K, np.float64), normalize, out.reshape(-1))
    return out


def thinned(blocks_K: Block, uniform_K: Block, density_K: Weights, rescale: bool) -> Block:
    """Each value kept with probability `density`, divided by it if `rescale`: DARE's drop (arXiv:2311.03099)."""
    out = np.empty_like(blocks_K)
    for block, uniform, density, kept in zip(blocks_K, uniform_K, density_K, out, strict=True):
        scale = 1.0 / density if rescale and density > 0 else 1.0
        kernels().thin(block.reshape(-1), uniform.reshape(-1), density, scale, kept.reshape(-1))
    return out
