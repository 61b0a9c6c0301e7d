"""Whole sources: each data set stays in one portion, so that a portion is a task mix that one can name."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dtm.disperse.joining import loads
from dtm.disperse.lengths import unrendered
from dtm.foundations.errors import DataError
from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


def join(
    examples_N: Examples,
    before_N: np.ndarray,
    k: int,
    *,
    rows: np.ndarray,
    tokens: np.ndarray | None = None,
    balance: Literal["rows", "tokens"] = "rows",
) -> np.ndarray:
    """New rows of a known source go where most of it is; new sources are packed whole, the largest first."""
    load_K = loads(before_N, k, rows, tokens, balance)
    weight_N = tokens if balance == "tokens" and tokens is not None else rows
    names, source_N = np.unique(np.asarray(examples_N.column("source"), dtype=str), return_inverse=True)
    known_N = before_N >= 0
    held_SK = np.zeros((len(names), k))
    np.add.at(held_SK, (source_N[known_N], before_N[known_N]), rows[known_N])
    portion_of = held_SK.argmax(axis=1)
    weights = np.bincount(source_N[~known_N], weights=weight_N[~known_N], minlength=len(names))
    unknown_S = held_SK.sum(axis=1) == 0
    load_K += np.bincount(portion_of[~unknown_S], weights=weights[~unknown_S], minlength=k)
    for source in np.argsort(-weights, kind="stable"):
        if unknown_S[source]:
            portion_of[source] = load_K.argmin()
            load_K[portion_of[source]] += max(weights[source], 1)
    return portion_of[source_N]


@registry("disperse").register("by_source", needs=("rows", "tokens"), unit="source", join=join)
def by_source(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    rows: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    balance: Literal["rows", "tokens"] = "rows",
) -> np.ndarray:
    """Pack whole sources into k portions, the largest first, each into the emptiest portion.

    Largest-first keeps the fullest portion within 4/3 of the best possible (Graham 1969). Nothing is
    drawn: `seed` is not read, and sources of one size go by name.

    Raises DataError when there are fewer sources than portions, or tokens were asked for before rendering.
    """
    weight_N = {"rows": np.ones(len(examples_N), np.int64) if rows is None else rows, "tokens": tokens}[
        balance
    ]
    if weight_N is None:
        raise unrendered("disperse.balance")
    names, source_N = np.unique(np.asarray(examples_N.column("source"), dtype=str), return_inverse=True)
    if k > len(names):
        raise DataError(
            f"{len(names)} sources cannot fill {k} portions: {', '.join(names[:20])}",
            where="disperse.k",
            mend=f"Set k to {len(names)} or less, or use the method 'random' or 'kmeans', which part sources",
        )
    weights = np.bincount(source_N, weights=weight_N, minlength=len(names))
    weights = np.maximum(weights, 1)  # a source of no tokens fills a portion all the same
    load_K = np.zeros(k)
    portion_of = np.empty(len(names), np.int64)
    for source in np.argsort(-weights, kind="stable"):
        portion_of[source] = np.argmin(load_K)
        load_K[portion_of[source]] += weights[source]
    return portion_of[source_N]
