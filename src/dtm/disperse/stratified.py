"""Stratified random: every portion gets the same share of every source, length or field.

Proportional allocation of stratified sampling (Neyman 1934, "On the two different aspects of the
representative method"), with largest-remainder quotas that add up: each stratum's units and the units of
all strata together differ by at most one between portions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtm.disperse.fields import values
from dtm.disperse.lengths import length_of
from dtm.disperse.runs import bands
from dtm.foundations.registry import registry
from dtm.foundations.settings import Count, is_number
from dtm.foundations.types import Examples


@registry("disperse").register("stratified", needs=("rows", "tokens", "trained_tokens"), balanced=True)
def stratified(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    rows: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    trained_tokens: np.ndarray | None = None,
    by: str | list[str] = "source",
    lengths: Count = 10,
) -> np.ndarray:
    """Deal each stratum to the portions, and what is left of it to those with the fewest units so far.

    `by` is `source`, `length` (of a row in tokens, in `lengths` bands of equal numbers), a field of meta
    (numbers of more than `lengths` kinds come in bands as well), or a list of these: then strata are
    their combinations. Units of several rows are dealt largest first, to the portion with fewest rows.

    Raises DataError when a row lacks the field, or lengths were asked for before rendering.
    """
    generator = np.random.default_rng(seed)
    rows_N = np.ones(len(examples_N), np.int64) if rows is None else rows
    stratum_N = np.zeros(len(examples_N), np.int64)
    for name in [by] if isinstance(by, str) else by:
        column_N = _column(examples_N, name, tokens, rows_N, lengths)
        stratum_N = np.unique(np.stack([stratum_N, column_N]), axis=1, return_inverse=True)[1].ravel()
    shuffled_N = generator.permutation(len(examples_N))
    order_N = shuffled_N[np.lexsort((-rows_N[shuffled_N], stratum_N[shuffled_N]))]
    ends = np.cumsum(np.bincount(stratum_N))
    portions_N = np.empty(len(examples_N), np.int64)
    units_K, load_K = np.zeros(k, np.int64), np.zeros(k, np.int64)
    for units in np.split(order_N, ends[:-1]):
        portions_N[units] = _deal(rows_N[units], units_K, load_K, generator)
    return portions_N


def _column(
    examples_N: Examples, name: str, tokens: np.ndarray | None, rows_N: np.ndarray, count: int
) -> np.ndarray:
    """The stratum of each unit by one criterion, int64 [N]."""
    if name == "length":
        return bands(length_of(tokens, rows_N, where="disperse.by"), count)
    found: list[Any] = (
        examples_N.column("source") if name == "source" else values(examples_N, name, where="disperse.by")
    )
    if all(map(is_number, found)) and len(set(found)) > count:
        return bands(np.array(found, np.float64), count)
    return np.unique(np.array([str(one) for one in found]), return_inverse=True)[1]


def _deal(
    rows_U: np.ndarray, units_K: np.ndarray, load_K: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """The portion of each unit of one stratum; `units_K` and `load_K` (rows) so far are brought up to date.

    Each whole round gives every portion one unit, the largest to the portion with fewest rows, which
    keeps the portions' rows within those of the largest unit. The last round, which is short, goes to the
    portions with the fewest units, so that these stay within one of each other over all strata.
    """
    k = len(units_K)
    chance_K = generator.random(k)
    whole = len(rows_U) // k * k
    if whole and rows_U[0] == rows_U[whole - 1]:
        dealt = np.tile(np.lexsort((chance_K, load_K)), whole // k)
        load_K += rows_U[0] * (whole // k)
    else:
        dealt = np.empty(whole, np.int64)
        for start in range(0, whole, k):
            dealt[start : start + k] = order_K = np.lexsort((chance_K, load_K))
            load_K[order_K] += rows_U[start : start + k]
    units_K += whole // k
    rest_K = np.lexsort((chance_K, load_K, units_K))[: len(rows_U) - whole]
    units_K[rest_K] += 1
    load_K[rest_K] += rows_U[whole:]
    return np.concatenate([dealt, rest_K])
