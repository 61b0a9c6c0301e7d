"""The portions card: what each portion holds, in figures, words and examples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from dtm.disperse.sphere import own_similarities, unit_rows
from dtm.foundations.seeds import derive
from dtm.foundations.signals.shingles import pattern
from dtm.foundations.signals.text import first_turns
from dtm.foundations.signals.tfidf import SHORTEST
from dtm.foundations.types import Examples

TERMS = 10
SHOWN = 3
LETTERS = 300  # of a text that is shown
TERM_ROWS = 5_000  # rows a portion whose words are counted, evenly spaced


def card(
    examples: Examples, portions_N: np.ndarray, k: int, *, embedding: np.ndarray | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """One plain dictionary a portion, ready for JSON:

    `index`, `rows`; `tokens`, `trained_tokens` (None before rendering); `sources` {source: rows}, the
    largest first; `terms`, the words of first user messages that most set it apart from the others;
    `examples`, three of {id, source, instruction, response}, nearest to the portion's centre where
    `embedding` [N, D] is given, else drawn by `seed`; and `unembedded`, rows whose embedding is zero.
    """
    import pyarrow.compute as pc

    rows_K = [np.flatnonzero(portions_N == portion) for portion in range(k)]
    tokens_2N = examples.token_counts() if examples.rendered else None
    sources = pc.dictionary_encode(examples.table.column("source").combine_chunks())
    names, source_N = sources.dictionary.to_pylist(), sources.indices.to_numpy()
    terms_K = _terms(examples, rows_K)
    order_N, zero_N = _order(portions_N, k, embedding, seed)
    cards = []
    for portion, rows in enumerate(rows_K):
        shown = rows[np.argsort(order_N[rows], kind="stable")][:SHOWN]
        cards.append({
            "index": portion,
            "rows": len(rows),
            "tokens": None if tokens_2N is None else int(tokens_2N[0][rows].sum()),
            "trained_tokens": None if tokens_2N is None else int(tokens_2N[1][rows].sum()),
            "sources": dict(sorted(_counted(names, source_N[rows]), key=_largest_first)),
            "terms": terms_K[portion],
            "examples": list(_shown(examples.take(shown))),
            "unembedded": None if zero_N is None else int(zero_N[rows].sum()),
        })  # fmt: skip
    return cards


def _counted(names: list[str], number_M: np.ndarray) -> Iterator[tuple[str, int]]:
    """Each name that is there, and how often."""
    counts = np.bincount(number_M, minlength=len(names)).tolist()
    return ((name, count) for name, count in zip(names, counts, strict=True) if count)


def _largest_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _order(
    portions_N: np.ndarray, k: int, embedding: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """A key [N] by which a portion's examples are shown, and which rows are zero in the embedding."""
    if embedding is None:
        return np.random.default_rng(derive(seed, "card")).random(len(portions_N)), None
    points_ND, zero_N = unit_rows(embedding)
    return -own_similarities(points_ND, portions_N, k), zero_N


def _shown(examples: Examples) -> Iterator[dict[str, str]]:
    instructions, responses = first_turns(examples, "user"), first_turns(examples, "assistant")
    for row, instruction, response in zip(examples.rows(), instructions, responses, strict=True):
        yield {
            "id": row["id"],
            "source": row["source"],
            "instruction": _cut(instruction),
            "response": _cut(response),
        }


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"


def _terms(examples: Examples, rows_K: list[np.ndarray]) -> list[list[str]]:
    """Each portion's typical words by how far rows that hold them stand out (see `log_odds`)."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    sample_K = [
        rows[np.linspace(0, len(rows) - 1, min(len(rows), TERM_ROWS), dtype=np.int64)] for rows in rows_K
    ]
    words = first_turns(examples.take(np.concatenate(sample_K)), "user")
    vectorizer = CountVectorizer(
        token_pattern=pattern(SHORTEST), stop_words=list(ENGLISH_STOP_WORDS), binary=True, max_features=50_000
    )
    try:
        holds_NV = vectorizer.fit_transform(words)
    except ValueError as error:  # sklearn: no word in any row
        if "vocabulary" not in str(error):
            raise
        return [[] for _ in rows_K]
    ends = np.cumsum([0, *map(len, sample_K)])
    counts_KV = np.stack(
        [np.asarray(holds_NV[start:end].sum(axis=0)).ravel() for start, end in pairwise(ends)]
    )
    names_V = vectorizer.get_feature_names_out()
    score_KV = log_odds(counts_KV, np.diff(ends))
    return [_top(names_V, score_V, count_V) for score_V, count_V in zip(score_KV, counts_KV, strict=True)]


def _top(names_V: np.ndarray, score_V: np.ndarray, count_V: np.ndarray) -> list[str]:
    """The best-scored terms that stand out, the more frequent and then the first by name of equals."""
    order = np.lexsort((names_V, -count_V, -score_V))[:TERMS]
    return [str(names_V[term]) for term in order if score_V[term] > 0]


def log_odds(counts_KV: np.ndarray, rows_K: np.ndarray) -> np.ndarray:
    """How far each term's odds in a portion stand above those in the rest, as z-scores [K, V].

    `counts_KV` are rows of each portion that hold the term, of `rows_K` rows. The prior is the whole, as
    one row more: log-odds with an informative Dirichlet prior (Monroe, Colaresi, Quinn 2008, "Fightin'
    Words", eq. 16, 22) on rows in place of words. Of a single portion, which has no rest, the shares.
    """
    counts_KV, rows_K1 = counts_KV.astype(np.float64), np.asarray(rows_K, np.float64)[:, None]
    share_V = counts_KV.sum(axis=0) / rows_K1.sum()
    if len(counts_KV) == 1:
        return share_V[None]
    inside_KV, outside_KV = counts_KV + share_V, counts_KV.sum(axis=0) - counts_KV + share_V
    inside_total, outside_total = rows_K1 + 1, rows_K1.sum() - rows_K1 + 1
    with np.errstate(divide="ignore", invalid="ignore"):  # a term that every row holds has infinite odds
        odds_KV = np.log(inside_KV / (inside_total - inside_KV)) - np.log(
            outside_KV / (outside_total - outside_KV)
        )
        score_KV = odds_KV / np.sqrt(1 / inside_KV + 1 / outside_KV)
    return np.nan_to_num(score_KV, nan=0.0, posinf=0.0, neginf=0.0)
