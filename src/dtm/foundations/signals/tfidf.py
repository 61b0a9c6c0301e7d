"""tf-idf of words: needs no model, is deterministic, and is enough to tell subjects apart.

Salton and Buckley 1988, "Term-weighting approaches in automatic text retrieval", with 1 + log tf and the
smoothed idf of scikit-learn. A word is two letters or more; in Chinese and Japanese, which have no spaces,
each character counts as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dtm.foundations.errors import ConfigError
from dtm.foundations.registry import registry
from dtm.foundations.settings import Count

IDEOGRAMS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
WORD = rf"[{IDEOGRAMS}]|[^\W{IDEOGRAMS}]{{2,}}"
TICK = 1000


@registry("embedder").register("tfidf")
def tfidf(
    texts_N: list[str],
    threads: int,
    progress: Callable[[int, int], None] | None,
    *,
    max_terms: Count = 50_000,
    min_rows: Count = 2,
    ngrams: Count = 1,
) -> Any:
    """Unit-norm tf-idf rows, scipy CSR float32 [N, F].

    Of the terms up to `ngrams` words long that stand in at least `min_rows` rows, the `max_terms` most
    frequent count; where no term is in so many rows, terms of single rows do. A row without any is zero.
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    for name, value in (("max_terms", max_terms), ("min_rows", min_rows), ("ngrams", ngrams)):
        if value < 1:
            raise ConfigError(f"{name} is {value}, and must be 1 or more", where=f"disperse.embedder.{name}")
    for least in dict.fromkeys((min(min_rows, max(len(texts_N), 1)), 1)):
        vectorizer = TfidfVectorizer(
            token_pattern=WORD,
            ngram_range=(1, ngrams),
            min_df=least,
            max_features=max_terms,
            sublinear_tf=True,
            dtype=np.float32,
        )
        try:
            return vectorizer.fit_transform(_ticking(texts_N, progress))
        except ValueError as error:  # sklearn: "empty vocabulary", "no terms remain"
            if "vocabulary" not in str(error) and "terms remain" not in str(error):
                raise
    return csr_matrix((len(texts_N), 1), dtype=np.float32)


def _ticking(texts_N: list[str], progress: Callable[[int, int], None] | None) -> Iterator[str]:
    for row, text in enumerate(texts_N, 1):
        yield text
        if progress and (row % TICK == 0 or row == len(texts_N)):
            progress(row, len(texts_N))
