"""One way to part an embedding, in this process: seconds, peak memory, and how good the portions are, as JSON.

    python benchmarks/disperse/measure.py EMBEDDING.npy ROWS K METHOD

`run.py` starts a fresh process of this for each figure.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from memory import now, watched

SEED, THREADS = 0, 2
Part = Callable[[np.ndarray, int], np.ndarray]


def ours(name: str, **settings: Any) -> Part:
    method = getattr(import_module(f"dtm.disperse.{name}"), name)
    return lambda points_ND, k: method(None, k, SEED, embedding=points_ND, **settings)


def ours_by_tokens() -> Part:
    """Rows of unequal weight, drawn as lengths in tokens are: log-normal."""
    from dtm.disperse.kmeans import kmeans as method

    def part(points_ND: np.ndarray, k: int) -> np.ndarray:
        tokens = np.random.default_rng(SEED).lognormal(4.5, 0.9, len(points_ND)).astype(np.int64) + 1
        return method(None, k, SEED, embedding=points_ND, tokens=tokens, balance="tokens")

    return part


def sklearn() -> Part:
    from sklearn.cluster import KMeans

    return lambda points_ND, k: KMeans(k, n_init=1, random_state=SEED).fit(points_ND).labels_


def sklearn_mini_batch() -> Part:
    from sklearn.cluster import MiniBatchKMeans

    return lambda points_ND, k: (
        MiniBatchKMeans(k, batch_size=4096, n_init=1, random_state=SEED).fit(points_ND).labels_
    )


def faiss(most: int | None) -> Part:
    """`most` rows a centre are trained on; None is all of them. Its own default is 256."""
    import faiss as package

    package.omp_set_num_threads(THREADS)

    def part(points_ND: np.ndarray, k: int) -> np.ndarray:
        model = package.Kmeans(
            points_ND.shape[1], k, niter=25, spherical=True, seed=1234,
            max_points_per_centroid=most or len(points_ND),
        )  # fmt: skip
        model.train(points_ND)
        return model.index.search(points_ND, 1)[1][:, 0]

    return part


def constrained() -> Part:
    from k_means_constrained import KMeansConstrained

    def part(points_ND: np.ndarray, k: int) -> np.ndarray:
        least, more = divmod(len(points_ND), k)
        model = KMeansConstrained(k, size_min=least, size_max=least + bool(more), n_init=1, random_state=SEED)
        return model.fit(points_ND).labels_

    return part


METHODS: dict[str, Callable[[], Part]] = {
    "kmeans": lambda: ours("kmeans"),
    "kmeans, balance: tokens": ours_by_tokens,
    "kmeans, balanced: false": lambda: ours("kmeans", balanced=False),
    "kmeans, 1 start": lambda: ours("kmeans", restarts=1),
    "hierarchical": lambda: ours("hierarchical"),
    "mini_batch": lambda: ours("mini_batch"),
    "birch": lambda: ours("birch"),
    "scikit-learn KMeans": sklearn,
    "scikit-learn MiniBatchKMeans": sklearn_mini_batch,
    "faiss, all rows": lambda: faiss(None),
    "faiss, 256 rows a centre": lambda: faiss(256),
    "k-means-constrained": constrained,
}


def quality(points_ND: np.ndarray, portions_N: np.ndarray, k: int) -> dict[str, float]:
    """Inertia: squared distances to the portions' means. Cosine: the mean one to the portions' unit centres."""
    count_K = np.bincount(portions_N, minlength=k)
    sums_KD = np.zeros((k, points_ND.shape[1]))
    for start in range(0, len(points_ND), 1 << 14):
        rows = slice(start, start + (1 << 14))
        for portion in range(k):
            sums_KD[portion] += points_ND[rows][portions_N[rows] == portion].sum(axis=0, dtype=np.float64)
    lengths_K = np.linalg.norm(sums_KD, axis=1)
    squares = float(np.einsum("nd,nd->", points_ND, points_ND, dtype=np.float64))
    inertia = squares - float((lengths_K**2 / np.maximum(count_K, 1)).sum())
    return {
        "inertia": round(inertia, 3), "cosine": round(float(lengths_K.sum()) / len(points_ND), 6),
        "largest": round(float(count_K.max()) * k / len(points_ND), 4),
        "smallest": round(float(count_K.min()) * k / len(points_ND), 4),
    }  # fmt: skip


def main() -> None:
    file, rows, k, name = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    points_ND = np.load(file, mmap_mode="r")[:rows]
    part = METHODS[name]()
    points_ND.sum()  # the mapped embedding is in memory, and counted in `before`
    before, load = now(), os.getloadavg()[0]
    cpu, wall = time.process_time(), time.perf_counter()
    with watched() as peaks:
        portions_N = np.asarray(part(points_ND, k), np.int64)
    seconds, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({
        "seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3), "load": round(load, 1),
        "peak_mb": round(peaks["VmRSS"] / 1e6), "beyond_mb": round((peaks["VmRSS"] - before["VmRSS"]) / 1e6),
        "embedding_mb": round(points_ND.nbytes / 1e6), **quality(points_ND, portions_N, k),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
