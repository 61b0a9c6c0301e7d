"""Cards and quality of a split whose portions may share rows.

What a portion trains on is counted with its copies and replayed rows. What the split is like - terms, similarity,
agreement, near-duplicates - is told of each row in its own portion alone, so that a row's copies are no finding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import dtm.disperse.cards
import dtm.disperse.quality
from dtm.disperse.overlapping import NOWHERE, Split
from dtm.foundations.types import Examples

Crossing = list[tuple[int, int, int]]


def card(
    examples: Examples, split: Split, *, embedding: np.ndarray | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """As `cards.card`; where rows are shared, rows, tokens and sources are all that a portion trains on, and
    `copied` and `replayed` say how many of the rows other portions have as well.
    """
    import pyarrow.compute as pc

    rows = split.dispersed
    own, vectors = _own(examples, rows), _own_array(embedding, rows)
    cards = dtm.disperse.cards.card(own, split.own_N[rows], split.k, embedding=vectors, seed=seed)
    if not split.shared:
        return cards
    counts_2N = examples.token_counts() if examples.rendered else None
    sources = pc.dictionary_encode(examples.table.column("source").combine_chunks())
    names, source_N = sources.dictionary.to_pylist(), sources.indices.to_numpy()
    replayed = int((split.own_N == NOWHERE).sum())
    for portion, found in enumerate(cards):
        held = split.rows(portion)
        rows_S = np.bincount(source_N[held], minlength=len(names)).tolist()
        sizes = [(name, count) for name, count in zip(names, rows_S, strict=True) if count]
        found |= {
            "rows": len(held), "copied": len(split.copied(portion)), "replayed": replayed,
            "sources": dict(sorted(sizes, key=lambda item: (-item[1], item[0]))),
        }  # fmt: skip
        if counts_2N is not None:
            found["tokens"], found["trained_tokens"] = (int(count_N[held].sum()) for count_N in counts_2N)
    return cards


def quality(
    examples: Examples,
    split: Split,
    *,
    embedding: np.ndarray | None = None,
    sampled: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], Crossing]:
    """As `quality.quality`, of the rows that have a portion of their own; `balance` is of all that is trained on, and
    `sharing` tells what portions share.
    """
    rows = split.dispersed
    if sampled is not None and len(rows) < len(examples):
        sampled = _sampled_own(sampled, split)
    found, crossing = dtm.disperse.quality.quality(
        _own(examples, rows), split.own_N[rows], split.k, embedding=_own_array(embedding, rows), sampled=sampled,
        seed=seed,
    )  # fmt: skip
    if split.shared:
        crossing = [(group, portion, int(rows[row])) for group, portion, row in crossing]
        found["balance"], found["sharing"] = _shared(examples, split)
    return found, crossing


def _shared(examples: Examples, split: Split) -> tuple[dict[str, float | None], dict[str, Any]]:
    """The balance of all that is trained on, and how much of it is shared."""
    counts = {"rows": np.ones(len(examples), np.int64)}
    if examples.rendered:
        counts["tokens"], counts["trained_tokens"] = examples.token_counts()
    held_K = [split.rows(portion) for portion in range(split.k)]
    balance: dict[str, float | None] = {"rows": None, "tokens": None, "trained_tokens": None}
    shared: dict[str, Any] = {
        "copies": len(split.copies), "copied": len(np.unique(split.copies[:, 0])),
        "replayed": int((split.own_N == NOWHERE).sum()),
    }  # fmt: skip
    for name, count_N in counts.items():
        total_K = np.array([int(count_N[held].sum()) for held in held_K])
        balance[name] = float(total_K.max() * split.k / total_K.sum()) if total_K.sum() else None
        shared[name] = int(total_K.sum())
        once = int(count_N.sum())
        shared[f"times_{name}"] = float(total_K.sum() / once) if once else None
    return balance, shared


def _sampled_own(sampled: tuple[np.ndarray, np.ndarray], split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The sample without replayed rows, its row numbers counted among the others."""
    rows, points = sampled
    has_own = split.own_N[rows] != NOWHERE
    place_N = np.cumsum(split.own_N != NOWHERE) - 1
    return place_N[rows[has_own]], np.asarray(points)[has_own]


def _own(examples: Examples, rows: np.ndarray) -> Examples:
    return examples if len(rows) == len(examples) else examples.take(rows)


def _own_array(array: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return array if array is None or len(rows) == len(array) else array[rows]
