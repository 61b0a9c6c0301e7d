"""By length: the shortest rows in the first portion, the longest in the last."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from dtm.disperse.joining import beside
from dtm.disperse.lengths import length_of, unrendered
from dtm.disperse.runs import cut
from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


def join(
    examples_N: Examples,
    before_N: np.ndarray,
    k: int,
    *,
    rows: np.ndarray,
    tokens: np.ndarray | None = None,
    trained_tokens: np.ndarray | None = None,
    of: Literal["row", "response"] = "row",
    **_: Any,
) -> np.ndarray:
    """New rows go where the known row is whose length is nearest."""
    return beside(
        length_of(tokens if of == "row" else trained_tokens, rows, where="disperse.method"), before_N
    )


@registry("disperse").register("by_length", needs=("rows", "tokens", "trained_tokens"), join=join)
def by_length(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    rows: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    trained_tokens: np.ndarray | None = None,
    of: Literal["row", "response"] = "row",
    balance: Literal["rows", "tokens"] = "rows",
) -> np.ndarray:
    """Sort by length in tokens and cut into k runs of as many rows, or tokens, each.

    `of` says whose length: the whole row's, or that of the tokens which carry loss. Nothing is drawn:
    `seed` is not read, and rows of one length stay in their order.

    Raises DataError before rendering.
    """
    rows_N = np.ones(len(examples_N), np.int64) if rows is None else rows
    length_N = length_of(tokens if of == "row" else trained_tokens, rows_N, where="disperse.method")
    weights_N = rows_N if balance == "rows" else tokens
    if weights_N is None:
        raise unrendered("disperse.balance")
    return cut(np.argsort(length_N, kind="stable"), weights_N, k)
