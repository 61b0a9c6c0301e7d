"""How good a split is: its balance, how alike rows are inside and across portions, and what it agrees with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dtm.disperse.agreement import agreement
from dtm.disperse.plane import plane
from dtm.disperse.sphere import add_moved, unit_rows
from dtm.foundations.seeds import derive
from dtm.foundations.signals import embed
from dtm.foundations.signals.near_duplicates import THRESHOLD, WORDS, near_duplicates
from dtm.foundations.signals.text import Texts
from dtm.foundations.types import SCHEMA, Examples

Progress = Callable[[int, int], None]  # rows done, rows in all
SAMPLE = 20_000  # rows embedded by tf-idf where the method needed no embedding
DIMENSIONS = 64  # of that embedding
MATRIX = 64  # portions up to which each pair of them has its similarity told


def quality(
    examples: Examples,
    portions_N: np.ndarray,
    k: int,
    *,
    embedding: np.ndarray | None = None,
    sampled: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], list[tuple[int, int, int]]]:
    """What `split` in results.json holds (see its schema), and the near-duplicates that portions share:
    (group, portion, row), sorted.

    Rows are compared in `embedding` [N, D]; without one, a sample of SAMPLE rows is in tf-idf, `sampled` being what
    `sample` gave if it is at hand. Memory beyond the embedding is 300 bytes a row.
    """
    from threadpoolctl import threadpool_limits

    seed = derive(seed, "quality")
    sources_N = _codes(examples, "source")
    several = sources_N.max(initial=0) > 0
    said = Examples(examples.table.select(SCHEMA.names))  # without tokens
    crossing, duplicates = _duplicates(said, portions_N, k)
    with threadpool_limits(1, user_api="blas"):  # the same bits on any number of threads
        if embedding is not None:
            rows, points, of = np.arange(len(said)), embedding, "embedding"
        else:
            (rows, points), of = sampled or sample(said, seed), "tf-idf"
        alike = similarity(points, portions_N[rows], k)
        shown = plane(said, rows, points, portions_N, seed)
    return {
        "balance": _balance(examples, portions_N, k),
        "similarity": {"of": of, **alike},
        "agreement": agreement(portions_N, sources_N) if several else {},
        "near_duplicates": duplicates,
        "map": {"of": of, **shown},
    }, crossing


def similarity(points_ND: np.ndarray, portions_N: np.ndarray, k: int) -> dict[str, Any]:
    """Mean cosines between different rows, of all pairs within a portion and across two.

    Of unit rows these follow from the portions' sums S: (|S|^2 - n) / n(n - 1) inside, and S.S' / nn' across.
    `portions` [K][K] has what is inside on its diagonal, None where there is no pair; of more than MATRIX
    portions it is empty. `within` and `across` are over all pairs of the one kind and the other. Rows that are
    zero do not count.
    """
    points_ND, zero_N = unit_rows(points_ND)
    nowhere_N, known_N = np.full(len(points_ND), -1), np.where(zero_N, -1, portions_N)
    sums_KD = add_moved(np.zeros((k, points_ND.shape[1])), points_ND, known_N, nowhere_N)
    n_K = np.bincount(portions_N[~zero_N], minlength=k).astype(np.float64)
    totals_KK = sums_KD @ sums_KD.T - np.diag(n_K)
    pairs_KK = np.outer(n_K, n_K) - np.diag(n_K)
    own, drawn = np.eye(k, dtype=bool), k if k <= MATRIX else 0
    return {
        "rows": int(n_K.sum()),
        "within": _ratio(totals_KK[own].sum(), pairs_KK[own].sum()),
        "across": _ratio(totals_KK[~own].sum(), pairs_KK[~own].sum()),
        "portions": [
            [_ratio(*both) for both in zip(*row, strict=True)]
            for row in zip(totals_KK[:drawn], pairs_KK[:drawn], strict=True)
        ],
    }


def sample(examples: Examples, seed: int, progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
    """SAMPLE rows at most, ascending [S], and their tf-idf in DIMENSIONS dimensions, unit rows float32 [S, D]."""
    rows = np.arange(len(examples))
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(seed).permutation(len(rows))[:SAMPLE])
    said = Examples(examples.table.select(SCHEMA.names)).take(rows)  # without tokens, which taking would copy
    return rows, embed(said, on="both", dimensions=DIMENSIONS, seed=seed, progress=progress)


def _balance(examples: Examples, portions_N: np.ndarray, k: int) -> dict[str, float | None]:
    """The largest portion over the mean one, in rows and tokens: 1 is even."""
    counts: dict[str, np.ndarray | None] = {"rows": None, "tokens": None, "trained_tokens": None}
    counts["rows"] = np.ones(len(examples), np.int64)
    if examples.rendered:
        counts["tokens"], counts["trained_tokens"] = examples.token_counts()
    found: dict[str, float | None] = {}
    for name, count_N in counts.items():
        total_K = None if count_N is None else np.bincount(portions_N, weights=count_N, minlength=k)
        found[name] = None if total_K is None else _ratio(total_K.max() * k, total_K.sum())
    return found


def _duplicates(
    examples: Examples, portions_N: np.ndarray, k: int
) -> tuple[list[tuple[int, int, int]], dict[str, Any]]:
    """Near-duplicates that portions share, and their counts; one row a family, whose rows are kin by intent."""
    first_F = np.unique(_codes(examples, "family"), return_index=True)[1]
    whole = len(first_F) == len(examples)
    group_F = near_duplicates(Texts(examples, "both", None if whole else first_F))
    portion_F = portions_N[first_F]
    groups = int(group_F.max(initial=-1)) + 1
    alike_F = group_F >= 0
    holds = np.unique(group_F[alike_F] * k + portion_F[alike_F])  # each (group, portion) once
    split_G = np.bincount(holds // k, minlength=groups) > 1
    crossing_F = alike_F.copy()
    crossing_F[alike_F] = split_G[group_F[alike_F]]
    listed = np.flatnonzero(crossing_F)
    shared = zip(group_F[listed].tolist(), portion_F[listed].tolist(), first_F[listed].tolist(), strict=True)
    found = {
        "threshold": THRESHOLD, "words": WORDS, "groups": groups, "rows": int(alike_F.sum()),
        "crossing_groups": int(split_G.sum()), "crossing_rows": len(listed),
    }  # fmt: skip
    return sorted(shared), found


def _codes(examples: Examples, column: str) -> np.ndarray:
    """The number of each row's value, by first appearance."""
    import pyarrow.compute as pc

    values = examples.table.column(column).combine_chunks()
    return pc.dictionary_encode(values, null_encoding="encode").indices.to_numpy().astype(np.int64)


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
