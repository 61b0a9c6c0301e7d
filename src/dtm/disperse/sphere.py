"""Rows on the unit sphere: similarities to centres and sums of portions, in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dtm.foundations.errors import DataError

BLOCK = 8192  # rows a matrix product


def unit_rows(embedding_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of unit norm, float32 [N, D], and which rows are zero, bool [N]; zeros stay zeros.

    Raises DataError when a row is not finite.
    """
    points_ND = np.ascontiguousarray(embedding_ND, np.float32)
    norms_N = np.linalg.norm(points_ND, axis=1)
    if not np.isfinite(norms_N).all():
        rows = np.flatnonzero(~np.isfinite(norms_N))
        raise DataError(f"the embedding of {len(rows)} rows is not finite, the first is row {rows[0]}")
    zero_N = norms_N == 0
    return points_ND / np.where(zero_N, np.float32(1), norms_N)[:, None], zero_N


def similarities(points_ND: np.ndarray, centres_KD: np.ndarray) -> np.ndarray:
    """Inner products float32 [N, K]."""
    similarity_NK = np.empty((len(points_ND), len(centres_KD)), np.float32)
    for rows in _blocks(len(points_ND)):
        np.matmul(points_ND[rows], centres_KD.T, out=similarity_NK[rows])
    return similarity_NK


def add_moved(
    sums_KD: np.ndarray, points_ND: np.ndarray, portions_N: np.ndarray, before_N: np.ndarray
) -> np.ndarray:
    """The portions' sums, float64 [K, D], after rows moved from `before_N` (-1: from nowhere)."""
    sums_KD = sums_KD.copy()
    portion_K = np.arange(len(sums_KD))[:, None]
    moved = np.flatnonzero(portions_N != before_N)
    for block in _blocks(len(moved)):
        rows = moved[block]
        change_KB = (portions_N[rows] == portion_K).astype(np.float64) - (before_N[rows] == portion_K)
        sums_KD += change_KB @ points_ND[rows].astype(np.float64)
    return sums_KD


def own_similarities(points_ND: np.ndarray, portions_N: np.ndarray, k: int) -> np.ndarray:
    """Each row's inner product with the unit centre of its own portion, float32 [N]."""
    nowhere_N = np.full(len(points_ND), -1)
    sums_KD = add_moved(np.zeros((k, points_ND.shape[1])), points_ND, portions_N, nowhere_N)
    norms_K1 = np.linalg.norm(sums_KD, axis=1, keepdims=True)
    centres_KD = (sums_KD / np.where(norms_K1 == 0, 1, norms_K1)).astype(np.float32)
    return similarities(points_ND, centres_KD)[np.arange(len(points_ND)), portions_N]


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, count, BLOCK))
