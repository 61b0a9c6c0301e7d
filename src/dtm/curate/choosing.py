"""What a method of curating returns, and how rows are taken by a score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dtm.foundations.errors import DataError

NO_SCORE = "no score"


@dataclass(frozen=True)
class Choice:
    """Which rows are kept, bool [N]; why each other is not, text [N], empty for those kept; and scores float64 [N]."""

    kept_N: np.ndarray
    reason_N: np.ndarray
    score_N: np.ndarray | None = None


def count_of(rows: int | None, fraction: float | None, there: int, where: object = "curate") -> int | None:
    """How many of the rows that are there to keep: one at least. Raises DataError where so many are not there."""
    if rows is not None and rows > there:
        raise DataError(f"there are {there:,} rows to choose {rows:,} of", where=where,
                        mend=f"Set rows to {there:,} or less, or use fraction")  # fmt: skip
    return rows if fraction is None else max(1, round(fraction * there))


def ranked(score_N: np.ndarray, seed: int) -> np.ndarray:
    """Row numbers from the highest score down, equals in a drawn order, rows without a score left out."""
    draw_N = np.random.default_rng(seed).permutation(len(score_N))
    order = np.lexsort((draw_N, -score_N))
    return order[np.isfinite(score_N[order])]


def highest(
    score_N: np.ndarray, count: int, seed: int, *, lower: str, barred_N: np.ndarray | None = None, why: str = ""
) -> Choice:  # fmt: skip
    """The `count` rows of the highest scores among those that are not barred, which are so for that reason.

    Where fewer are left, all of them. `score_N` is the choice's.
    """
    barred_N = np.zeros(len(score_N), bool) if barred_N is None else barred_N
    kept_N = np.zeros(len(score_N), bool)
    kept_N[ranked(np.where(barred_N, np.nan, score_N), seed)[:count]] = True
    reason_N = np.where(barred_N, why, np.where(np.isfinite(score_N), lower, NO_SCORE))
    return Choice(kept_N, np.where(kept_N, "", reason_N), score_N)
