"""Which portion new rows join. A rule is `f(examples_N, before_N, k, *, signals, settings) -> int [N]`.

`before_N` holds the portions of known units and -1 for new ones; what a rule answers for known units is not
read. A method names its rule as `join=` where it is registered; without one `smallest` holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtm.disperse.balance import weights_of
from dtm.disperse.sphere import centres_of, similarities, threads, unit_rows
from dtm.foundations.types import Examples


def smallest(
    examples_N: Examples,
    before_N: np.ndarray,
    k: int,
    *,
    rows: np.ndarray,
    tokens: np.ndarray | None = None,
    balance: str = "rows",
    **_: Any,
) -> np.ndarray:
    """All new rows into the portion that weighs least: of k sub-models one trains again, not all."""
    return np.full(len(before_N), loads(before_N, k, rows, tokens, balance).argmin())


def nearest(
    examples_N: Examples,
    before_N: np.ndarray,
    k: int,
    *,
    embedding: np.ndarray,
    rows: np.ndarray,
    tokens: np.ndarray | None = None,
    balance: str = "rows",
    **_: Any,
) -> np.ndarray:
    """Each new row into the portion whose centre, that of its known rows, is most like it.

    Rows that embed to nothing go to the portion that weighs least.
    """
    points_ND, zero_N = unit_rows(embedding)
    known, new = np.flatnonzero(before_N >= 0), np.flatnonzero((before_N < 0) & ~zero_N)
    joined_N = smallest(examples_N, before_N, k, rows=rows, tokens=tokens, balance=balance)
    with threads() as count:
        centres_KD = centres_of(points_ND[known], before_N[known], k)
        joined_N[new] = similarities(points_ND[new], centres_KD, count).argmax(axis=1)
    return joined_N


def beside(values_N: np.ndarray, before_N: np.ndarray) -> np.ndarray:
    """Each new unit into the portion of the known unit of the nearest value: sorted portions stay sorted."""
    known = np.flatnonzero(before_N >= 0)
    known = known[np.lexsort((before_N[known], values_N[known]))]
    sorted_M, place_N = values_N[known], np.searchsorted(values_N[known], values_N)
    below_N, above_N = (place_N - 1).clip(0), place_N.clip(max=len(known) - 1)
    nearer_below = np.abs(values_N - sorted_M[below_N]) <= np.abs(sorted_M[above_N] - values_N)
    return before_N[known[np.where(nearer_below, below_N, above_N)]]


def loads(
    before_N: np.ndarray, k: int, rows: np.ndarray, tokens: np.ndarray | None, balance: str
) -> np.ndarray:
    """What each portion's known units weigh, float64 [K]."""
    weights_N = weights_of("tokens" if balance == "tokens" else "rows", len(before_N), rows, tokens)
    known_N = before_N >= 0
    return np.bincount(before_N[known_N], weights=weights_N[known_N], minlength=k)
