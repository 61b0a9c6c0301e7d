"""Mini-batch k-means: centres from small batches, for embeddings that do not fit into memory.

Sculley 2010, "Web-scale k-means clustering", as scikit-learn's MiniBatchKMeans does it. Only the centres
come from it: the assignment to them is ours, and as even as k-means makes it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dtm.disperse.balance import Balance, assign_even, weights_of
from dtm.disperse.joining import nearest
from dtm.disperse.sphere import norms_of, similarities, threads, unit_centres
from dtm.foundations.registry import registry
from dtm.foundations.seeds import derive32
from dtm.foundations.settings import Count
from dtm.foundations.types import Examples

CHUNK = 64  # neighbouring rows of a batch: what a disk reads at once


@registry("disperse").register("mini_batch", needs=("embedding", "rows", "tokens"), join=nearest)
def mini_batch(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    embedding: np.ndarray,
    rows: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    balance: Balance = "rows",
    batch_size: Count = 4096,
    epochs: Count = 3,
) -> np.ndarray:
    """k centres from `epochs` shuffled passes in batches, then the best assignment of equal weights to them.

    `embedding` is float [N, D] and may be memory-mapped: no copy of it is made, and in memory are N x k
    similarities. A unit weighs as many as it has rows, or tokens (`balance`).

    Raises DataError on an embedding that is not finite.
    """
    from sklearn.cluster import MiniBatchKMeans

    weights_N = weights_of(balance, len(embedding), rows, tokens)
    norms_N = norms_of(embedding).astype(np.float32)
    norms_N[norms_N == 0] = 1
    generator = np.random.default_rng(seed)
    model = MiniBatchKMeans(k, random_state=derive32(seed, "mini_batch"), n_init=3)
    with threads() as count:
        for _ in range(epochs):
            for batch in _batches(len(embedding), max(batch_size, k), k, generator):
                points_BD = np.asarray(embedding[batch], np.float32) / norms_N[batch, None]
                model.partial_fit(points_BD, sample_weight=weights_N[batch])
        similarity_NK = similarities(embedding, unit_centres(model.cluster_centers_), count)
    similarity_NK /= norms_N[:, None]
    return assign_even(similarity_NK, weights_N)


def _batches(count: int, size: int, least: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """All rows in a shuffled order of chunks, in batches; a last one of fewer than `least` joins the one before."""
    order = generator.permutation(-(-count // CHUNK))[:, None] * CHUNK + np.arange(CHUNK)
    rows = order[order < count]
    ends = np.arange(size, count, size)
    if len(ends) and count - ends[-1] < least:
        ends = ends[:-1]
    yield from (np.sort(batch) for batch in np.split(rows, ends))
