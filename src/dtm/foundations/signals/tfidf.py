"""tf-idf of words: needs no model, is deterministic, and is enough to tell subjects apart.

Salton and Buckley 1988, "Term-weighting approaches in automatic text retrieval", with 1 + log tf and the
smoothed idf of scikit-learn. A word is two letters or more; in Chinese and Japanese, which have no spaces,
each character counts as one.

In two passes, block by block: the first counts terms, the second makes the rows that are asked for. In memory
are one block of rows, and of all different terms their letters and 32 bytes each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dtm.foundations.blocks import blocks, over_blocks
from dtm.foundations.errors import ConfigError
from dtm.foundations.registry import registry
from dtm.foundations.settings import Count
from dtm.foundations.signals.text import BATCH, at

IDEOGRAMS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
WORD = rf"[{IDEOGRAMS}]|[^\W{IDEOGRAMS}]{{2,}}"
ANY_WORD, ASCII_WORD = re.compile(WORD), re.compile(r"\w{2,}")  # the same where there are no ideograms
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
    frequent count (of equals the first in order); where no term is in so many rows, terms of single rows do.
    A row without any is zero. Same bits on any number of threads.
    """
    for name, value in (("max_terms", max_terms), ("min_rows", min_rows), ("ngrams", ngrams)):
        if value < 1:
            raise ConfigError(f"{name} is {value}, and must be 1 or more", where=f"disperse.embedder.{name}")
    terms, rows_T, times_T = _counted(texts_N, ngrams, threads, progress)
    enough_T = rows_T >= min_rows
    kept = np.flatnonzero(enough_T if enough_T.any() else rows_T > 0)
    kept = np.sort(kept[np.argsort(-times_T[kept], kind="stable")[:max_terms]])
    idf_F = np.log((1 + len(texts_N)) / (1 + rows_T[kept])) + 1
    return TfIdf(texts_N, terms.take(kept), idf_F, ngrams)


@dataclass(frozen=True)
class TfIdf:
    """The features of all rows, none of them kept: a slice, or ascending row numbers, give theirs."""

    texts_N: Sequence[str]
    terms_F: Any  # pyarrow strings, sorted
    idf_F: np.ndarray
    ngrams: int

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.texts_N), max(len(self.terms_F), 1)

    def __getitem__(self, rows: slice | np.ndarray) -> Any:
        """Unit-norm rows, scipy CSR float32."""
        import pyarrow.compute as pc
        from scipy.sparse import csr_matrix

        texts = self.texts_N[rows] if isinstance(rows, slice) else at(self.texts_N, rows)
        said = _terms(texts, self.ngrams)
        known = pc.index_in(said.dictionary, value_set=self.terms_F).fill_null(-1).to_numpy()
        row_P, term_P, times_P = _pairs(said.row_W, known[said.code_W], len(self.terms_F))
        weight_P = (1 + np.log(times_P)) * self.idf_F[term_P]
        norm_R = np.sqrt(np.bincount(row_P, weights=weight_P**2, minlength=len(texts)))
        ends = np.cumsum(np.bincount(row_P, minlength=len(texts)))
        data_P = (weight_P / norm_R[row_P]).astype(np.float32)
        return csr_matrix((data_P, term_P, np.append(0, ends)), (len(texts), self.shape[1]))


@dataclass(frozen=True)
class _Said:
    """The terms of some texts, one behind the other: the row of each [W], and its place in `dictionary`."""

    row_W: np.ndarray
    code_W: np.ndarray
    dictionary: Any


def _terms(texts: Sequence[str], ngrams: int) -> _Said:
    import pyarrow as pa
    import pyarrow.compute as pc

    found: list[str] = []
    ends = np.zeros(len(texts) + 1, np.int64)
    for number, text in enumerate(texts, 1):
        found += (ASCII_WORD if text.isascii() else ANY_WORD).findall(text.lower())
        ends[number] = len(found)
    row_W = np.repeat(np.arange(len(texts)), np.diff(ends))
    words_W = pa.array(found, pa.large_string())
    terms, rows = [words_W], [row_W]
    for size in range(2, ngrams + 1):
        inside = row_W[: 1 - size] == row_W[size - 1 :]
        shifted = (words_W.slice(first, max(len(words_W) - size + 1, 0)) for first in range(size))
        joined = pc.binary_join_element_wise(*shifted, pa.scalar(" ", pa.large_string()))
        terms.append(joined.filter(pa.array(inside[: len(joined)])))
        rows.append(row_W[: len(inside)][inside])
    encoded = pa.concat_arrays(terms).dictionary_encode()
    return _Said(np.concatenate(rows), encoded.indices.to_numpy(), encoded.dictionary)


def _pairs(row_W: np.ndarray, term_W: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each row's different terms [P] in order, and how often they stand there; terms below 0 do not count."""
    there = term_W >= 0
    pair_P, times_P = np.unique(row_W[there] * width + term_W[there], return_counts=True)
    return pair_P // max(width, 1), pair_P % max(width, 1), times_P


def _counted(
    texts_N: Sequence[str], ngrams: int, threads: int, progress: Callable[[int, int], None] | None
) -> tuple[Any, np.ndarray, np.ndarray]:
    """All terms in order, how many rows hold each [T], and how often each stands in all of them [T]."""
    import pyarrow as pa

    count = len(texts_N)
    total, waiting = _summed([]), []
    todo = list(blocks(count, BATCH))
    for rows, counted in zip(todo, over_blocks(partial(_count, texts_N, ngrams), todo, threads), strict=True):
        waiting.append(counted)
        if sum(map(len, waiting)) > max(MERGE, len(total)):
            total, waiting = _summed([total, *waiting]), []
        if progress:
            progress(rows.stop // 2, count)  # the second pass is the other half
    total = _summed([total, *waiting]).sort_by("term")
    return total["term"].combine_chunks(), total["rows"].to_numpy(), total["times"].to_numpy()


def _count(texts_N: Sequence[str], ngrams: int, rows: slice) -> Any:
    """A table of the block's terms: how many of its rows hold each, and how often it stands there."""
    import pyarrow as pa

    said = _terms(texts_N[rows], ngrams)
    width = len(said.dictionary)
    _, term_P, _ = _pairs(said.row_W, said.code_W, width)
    counts = {
        "rows": np.bincount(term_P, minlength=width),
        "times": np.bincount(said.code_W, minlength=width),
    }
    return pa.table({"term": said.dictionary, **counts})


def _summed(tables: Sequence[Any]) -> Any:
    """One table in which each term stands once."""
    import pyarrow as pa

    kinds = pa.schema([("term", pa.large_string()), ("rows", pa.int64()), ("times", pa.int64())])
    whole = pa.concat_tables([kinds.empty_table(), *tables])
    added = whole.group_by("term", use_threads=False).aggregate([("rows", "sum"), ("times", "sum")])
    return added.rename_columns({"rows_sum": "rows", "times_sum": "times"}).cast(kinds)
