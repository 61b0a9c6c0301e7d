"""How far two ways to part the same rows agree, whatever the parts are called."""

from __future__ import annotations

import numpy as np


def agreement(one_N: np.ndarray, other_N: np.ndarray) -> dict[str, float]:
    """`adjusted_rand` (Hubert and Arabie 1985) and `mutual_information`, normalised by the mean of the entropies
    (Strehl and Ghosh 2002), of two arrays [N] of part numbers from 0.

    1: the same parts. The Rand index is 0 on average where parts have nothing to do with one another, the mutual
    information a little above. Two splits with one part each, or of single rows only, are the same.
    """
    width = int(other_N.max(initial=0)) + 1
    cells = np.unique(one_N * width + other_N, return_counts=True)[1].astype(np.float64)
    parts = [np.unique(part_N, return_counts=True)[1].astype(np.float64) for part_N in (one_N, other_N)]
    return {
        "adjusted_rand": _adjusted_rand(cells, *parts),
        "mutual_information": _mutual_information(cells, *parts),
    }


def _adjusted_rand(cells: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    together, first, second = (float((counts * (counts - 1) / 2).sum()) for counts in (cells, one, other))
    pairs = one.sum() * (one.sum() - 1) / 2
    if first == second and first in (0.0, pairs):
        return 1.0
    expected = first * second / pairs
    return float((together - expected) / ((first + second) / 2 - expected))


def _mutual_information(cells: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    joint, first, second = _entropy(cells), _entropy(one), _entropy(other)
    if first == second == 0:
        return 1.0
    return float(min(max((first + second - joint) / ((first + second) / 2), 0.0), 1.0))


def _entropy(counts: np.ndarray) -> float:
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum()) + 0.0 if len(counts) > 1 else 0.0
