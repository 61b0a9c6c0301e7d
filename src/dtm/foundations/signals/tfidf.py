"""tf-idf of words: needs no model, is deterministic, and is enough to tell subjects apart.

Salton and Buckley 1988, "Term-weighting approaches in automatic text retrieval", with 1 + log tf and the
smoothed idf of scikit-learn. A word is two letters or more; in Chinese and Japanese, which have no spaces,
each character counts as one.

In two passes, block by block: the first counts terms, the second makes the rows that are asked for. Terms are known
by 64-bit hashes (see `shingles`). In memory are one block of rows, and of all different terms 24 bytes each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dtm.foundations.blocks import blocks, over_blocks
from dtm.foundations.errors import ConfigError
from dtm.foundations.registry import registry
from dtm.foundations.settings import Count
from dtm.foundations.signals.shingles import words
from dtm.foundations.signals.text import BATCH, at

SHORTEST = 2  # of a word at least
MERGE = 1 << 20  # counts that wait until they are added up


@registry("embedder").register("tfidf", version=2)
def tfidf(
    texts_N: Sequence[str],
    threads: int,
    progress: Callable[[int, int], None] | None,
    *,
    max_terms: Count = 50_000,
    min_rows: Count = 2,
    ngrams: Count = 1,
) -> TfIdf:
    """Unit-norm tf-idf rows [N, F], made as CSR float32 where they are read.

    Of the terms up to `ngrams` words long that stand in at least `min_rows` rows, the `max_terms` most
    frequent count (of equals those of the lowest hash); where no term is in so many rows, terms of single rows
    do. A row without any is zero. Same bits on any number of threads.
    """
    for name, value in (("max_terms", max_terms), ("min_rows", min_rows), ("ngrams", ngrams)):
        if value < 1:
            raise ConfigError(f"{name} is {value}, and must be 1 or more", where=f"disperse.embedder.{name}")
    term_T, rows_T, times_T = _counted(texts_N, ngrams, threads, progress)
    enough_T = rows_T >= min_rows
    kept = np.flatnonzero(enough_T if enough_T.any() else rows_T)
    kept = np.sort(kept[np.argsort(-times_T[kept], kind="stable")[:max_terms]])
    idf_F = np.log((1 + len(texts_N)) / (1 + rows_T[kept])) + 1
    return TfIdf(texts_N, term_T[kept], idf_F, ngrams)


@dataclass(frozen=True)
class TfIdf:
    """The features of all rows, none of them kept: a slice, or ascending row numbers, give theirs."""

    texts_N: Sequence[str]
    term_F: np.ndarray  # hashes, ascending
    idf_F: np.ndarray
    ngrams: int

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.texts_N), max(len(self.term_F), 1)

    def __getitem__(self, rows: slice | np.ndarray) -> Any:
        """Unit-norm rows, scipy CSR float32."""
        from scipy.sparse import csr_matrix

        texts = self.texts_N[rows] if isinstance(rows, slice) else at(self.texts_N, rows)
        hash_W, row_W = _terms(texts, self.ngrams)
        width = self.shape[1]
        place_W = np.searchsorted(self.term_F, hash_W).clip(max=width - 1)
        known_W = self.term_F[place_W] == hash_W if len(self.term_F) else np.zeros(len(hash_W), bool)
        pair_P, times_P = np.unique(row_W[known_W] * width + place_W[known_W], return_counts=True)
        row_P, term_P = np.divmod(pair_P, width)
        weight_P = (1 + np.log(times_P)) * self.idf_F[term_P]
        norm_R = np.sqrt(np.bincount(row_P, weights=weight_P**2, minlength=len(texts)))
        ends = np.cumsum(np.bincount(row_P, minlength=len(texts)))
        data_P = (weight_P / norm_R[row_P]).astype(np.float32)
        return csr_matrix((data_P, term_P, np.append(0, ends)), (len(texts), width))


def _terms(texts: Sequence[str], ngrams: int) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of all terms [W], and the row that each stands in."""
    said = words(texts, least=SHORTEST)
    runs = [said.runs(length) for length in range(1, ngrams + 1)]
    return np.concatenate([hash_W for hash_W, _ in runs]), np.concatenate([row_W for _, row_W in runs])


Counts = tuple[
    np.ndarray, np.ndarray, np.ndarray
]  # terms' hashes, ascending; rows that hold each; times it stands there


def _counted(
    texts_N: Sequence[str], ngrams: int, threads: int, progress: Callable[[int, int], None] | None
) -> Counts:
    """All terms of all rows."""
    count = len(texts_N)
    total, waiting = _summed([]), []
    todo = list(blocks(count, BATCH))
    for rows, counts in zip(todo, over_blocks(partial(_count, texts_N, ngrams), todo, threads), strict=True):
        waiting.append(counts)
        if sum(len(term_T) for term_T, _, _ in waiting) > max(MERGE, len(total[0])):
            total, waiting = _summed([total, *waiting]), []
        if progress:
            progress(rows.stop // 2, count)  # the second pass is the other half
    return _summed([total, *waiting])


def _count(texts_N: Sequence[str], ngrams: int, rows: slice) -> Counts:
    """The terms of a block of rows."""
    hash_W, row_W = _terms(texts_N[rows], ngrams)
    order = np.lexsort((row_W, hash_W))
    hash_W, row_W = hash_W[order], row_W[order]
    first_W = np.append(True, hash_W[1:] != hash_W[:-1])[: len(hash_W)]
    again_W = np.append(False, (row_W[1:] == row_W[:-1]) & ~first_W[1:])[: len(hash_W)]
    starts = np.flatnonzero(first_W)
    times_T = np.diff(np.append(starts, len(hash_W)))
    rows_T = times_T - np.add.reduceat(again_W, starts, dtype=np.int64) if len(starts) else times_T
    return hash_W[starts], rows_T, times_T


def _summed(counts: Sequence[Counts]) -> Counts:
    """Each term once."""
    empty = np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    hash_C, rows_C, times_C = (np.concatenate(column) for column in zip(empty, *counts, strict=True))
    term_T, place_C = np.unique(hash_C, return_inverse=True)
    rows_T, times_T = (np.bincount(place_C, one, len(term_T)).astype(np.int64) for one in (rows_C, times_C))
    return term_T, rows_T, times_T
