"""Topic: portions around the k topics of a factorised tf-idf matrix, each a weighted list of words.

Lee and Seung 1999, "Learning the parts of objects by non-negative matrix factorization", as scikit-learn's
NMF does it, on tf-idf as Arora, Ge, Moitra 2012 ("Learning topic models - going beyond SVD") read it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtm.disperse.balance import Balance, assign_even, weights_of
from dtm.disperse.joining import smallest
from dtm.disperse.sphere import blocks, threads
from dtm.foundations.registry import registry
from dtm.foundations.seeds import derive32
from dtm.foundations.settings import Count
from dtm.foundations.signals.text import Side, Texts
from dtm.foundations.signals.tfidf import tfidf
from dtm.foundations.types import Examples

FIT_ROWS = 20_000  # topics are found on a seeded sample of so many rows; all rows are then read by them


def join(
    examples_N: Examples,
    before_N: np.ndarray,
    k: int,
    *,
    rows: np.ndarray,
    tokens: np.ndarray | None = None,
    on: Side = "both",
    balance: Balance = "rows",
    max_terms: Count = 20_000,
    **_: Any,
) -> np.ndarray:
    """New rows go where the known rows' words are most like theirs (cosine of tf-idf), or without a word as by
    `smallest`."""
    from scipy.sparse import csr_matrix

    features_NF = tfidf(Texts(examples_N, on), 1, None, max_terms=max_terms)
    centres_KF = np.zeros((k, features_NF.shape[1]))
    for block in blocks(len(before_N)):
        before_B = before_N[block]
        known = np.flatnonzero(before_B >= 0)
        holds_KB = csr_matrix((np.ones(len(known)), (before_B[known], known)), shape=(k, len(before_B)))
        centres_KF += (holds_KB @ features_NF[block]).toarray()
    norms_K1 = np.linalg.norm(centres_KF, axis=1, keepdims=True)
    centres_FK = (centres_KF / np.where(norms_K1 == 0, 1, norms_K1)).T
    joined_N = smallest(examples_N, before_N, k, rows=rows, tokens=tokens, balance=balance)
    for block in blocks(len(before_N)):
        features_BF = features_NF[block]
        worded_B = np.diff(features_BF.indptr) > 0
        joined_N[block] = np.where(worded_B, (features_BF @ centres_FK).argmax(axis=1), joined_N[block])
    return joined_N


@registry("disperse").register("topic", version=2, needs=("rows", "tokens"), join=join)
def topic(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    rows: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    on: Side = "both",
    balance: Balance = "rows",
    max_terms: Count = 20_000,
    max_iterations: Count = 200,
) -> np.ndarray:
    """Portions of equal weight by the share that each of k topics has in a row's words.

    `on` is whose words count: `instruction`, `response` or `both`. A unit weighs as many as it has rows, or
    tokens (`balance`). Rows without a word have no topic and fill up.
    """
    weights_N = weights_of(balance, len(examples_N), rows, tokens)
    with threads() as count:
        features_NF = tfidf(Texts(examples_N, on), count, None, max_terms=max_terms)
        return assign_even(shares(features_NF, k, seed, max_iterations), weights_N)


def shares(features_NF: Any, k: int, seed: int, max_iterations: int) -> np.ndarray:
    """The share of each topic in each row, float [N, K]; rows sum to 1, or to 0 where there is no word.

    `features_NF` is scipy sparse, or gives such rows block by block. Topics are scaled to equal weight (their
    words sum to 1), so that a share is one of words.
    """
    import warnings

    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    count = features_NF.shape[0]
    chosen = np.arange(count)
    if count > FIT_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(count, FIT_ROWS, replace=False))
    share_NK, sample_SF = np.zeros((count, k)), features_NF[chosen]
    if not sample_SF.nnz:
        return share_NK
    rank = min(k, features_NF.shape[1], count)
    model = NMF(rank, init="nndsvda", random_state=derive32(seed, "topic"), max_iter=max_iterations)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # its own error may round below zero
        warnings.simplefilter("ignore", ConvergenceWarning)  # the portions are even wherever it stops
        model.fit(sample_SF)
        for block in blocks(count):
            if not (features_BF := features_NF[block]).nnz:
                continue  # of which transform would make NaN
            weights_BK = model.transform(features_BF) * model.components_.sum(axis=1)
            sums_B1 = weights_BK.sum(axis=1, keepdims=True)
            np.divide(weights_BK, sums_B1, out=share_NK[block, :rank], where=sums_B1 > 0)
    return share_NK
