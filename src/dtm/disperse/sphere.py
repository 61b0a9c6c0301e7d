"""Rows on the unit sphere: similarities to centres and sums of portions, in blocks of rows.

Blocks are the same whatever the number of threads, and BLAS runs on one thread inside each: so are the bits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dtm.foundations import blocks as foundations
from dtm.foundations.blocks import over_blocks
from dtm.foundations.blocks import threads as threads
from dtm.foundations.errors import DataError

BLOCK = 8192  # rows a matrix product
UNIT = 1e-5  # norms this near to 1 are 1: rows that an embedder scaled are not copied


def unit_rows(embedding_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of unit norm, float32 [N, D], and which rows are zero, bool [N]; zeros stay zeros.

    Rows that have unit norm already come back as they are, not copied.

    Raises DataError when a row is not finite.
    """
    norms_N = norms_of(embedding_ND)
    zero_N = norms_N == 0
    if embedding_ND.dtype == np.float32 and (np.abs(norms_N - 1) < UNIT)[~zero_N].all():
        return embedding_ND, zero_N
    points_ND = np.array(embedding_ND, np.float32, order="C")
    points_ND /= np.where(zero_N, 1, norms_N).astype(np.float32)[:, None]
    return points_ND, zero_N


def norms_of(embedding_ND: np.ndarray) -> np.ndarray:
    """The rows' norms, float64 [N], read in blocks. Raises DataError when a row is not finite."""
    norms_N = np.empty(len(embedding_ND))
    for rows in blocks(len(embedding_ND)):
        block_BD = np.asarray(embedding_ND[rows], np.float32)
        norms_N[rows] = np.sqrt(np.einsum("nd,nd->n", block_BD, block_BD))
    if not np.isfinite(norms_N).all():
        wrong = np.flatnonzero(~np.isfinite(norms_N))
        raise DataError(f"the embedding of {len(wrong)} rows is not finite, the first is row {wrong[0]}")
    return norms_N


def similarities(points_ND: np.ndarray, centres_KD: np.ndarray, threads: int = 1) -> np.ndarray:
    """Inner products float32 [N, K]."""
    similarity_NK = np.empty((len(points_ND), len(centres_KD)), np.float32)

    def fill(rows: slice) -> None:
        np.matmul(points_ND[rows], centres_KD.T, out=similarity_NK[rows])

    for _ in over_blocks(fill, blocks(len(points_ND)), threads):
        pass
    return similarity_NK


def add_moved(
    sums_KD: np.ndarray,
    points_ND: np.ndarray,
    portions_N: np.ndarray,
    before_N: np.ndarray,
    weights_N: np.ndarray | None = None,
    threads: int = 1,
) -> np.ndarray:
    """The portions' weighted sums, float64 [K, D], after rows moved from `before_N` (-1: from nowhere)."""
    sums_KD = sums_KD.copy()
    portion_K1 = np.arange(len(sums_KD))[:, None]
    moved = np.flatnonzero(portions_N != before_N)

    def change(block: slice) -> np.ndarray:
        rows = moved[block]
        change_KB = (portions_N[rows] == portion_K1).astype(np.float64) - (before_N[rows] == portion_K1)
        if weights_N is not None:
            change_KB *= weights_N[rows]
        return change_KB @ points_ND[rows].astype(np.float64)

    for change_KD in over_blocks(change, blocks(len(moved)), threads):
        sums_KD += change_KD  # in the order of the blocks
    return sums_KD


def unit_centres(sums_KD: np.ndarray) -> np.ndarray:
    """Sums of rows scaled to unit norm, float32 [K, D]; zeros stay zeros."""
    norms_K1 = np.linalg.norm(sums_KD, axis=1, keepdims=True)
    return (sums_KD / np.where(norms_K1 == 0, 1, norms_K1)).astype(np.float32)


def centres_of(points_ND: np.ndarray, portions_N: np.ndarray, k: int) -> np.ndarray:
    """The portions' unit centres, float32 [K, D]."""
    nowhere_N = np.full(len(points_ND), -1)
    return unit_centres(add_moved(np.zeros((k, points_ND.shape[1])), points_ND, portions_N, nowhere_N))


def own_similarities(points_ND: np.ndarray, portions_N: np.ndarray, k: int) -> np.ndarray:
    """Each row's inner product with the unit centre of its own portion, float32 [N]."""
    centres_KD = centres_of(points_ND, portions_N, k)
    return similarities(points_ND, centres_KD)[np.arange(len(points_ND)), portions_N]


def blocks(count: int) -> Iterator[slice]:
    """The slices of BLOCK rows that cover `count` rows."""
    return foundations.blocks(count, BLOCK)
