"""Portions of equal weight: units weigh their rows or their tokens, and stay whole.

Maximise sum_i w_i s[i, a(i)] with the same weight in each portion. Let a unit be divided and this is a
transportation problem of weights: its dual has one price a portion, and each unit goes where similarity
minus price is highest (of an optimal solution at most K - 1 units would be divided). `weighted` finds
such prices by exact coordinate descent; `level` then moves single units until no move would even the
portions more.

Where all units weigh the same `transport` solves the problem to its integral optimum instead.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from dtm.disperse.lengths import unrendered
from dtm.disperse.transport import assign_balanced, choices

SWEEPS = 30
SORTED, STRIDE = (
    1 << 15,
    32,
)  # units that are sorted whole; of more, a sample of every so many says where to look
ENOUGH = 1e-3  # share of the weight above the portions' due at which prices are good enough

Balance = Literal["rows", "tokens"]


def weights_of(
    balance: Balance, count: int, rows: np.ndarray | None, tokens: np.ndarray | None
) -> np.ndarray:
    """What each unit weighs, float64 [N], 1 or more. Raises DataError on tokens before rendering."""
    if balance == "tokens" and tokens is None:
        raise unrendered("disperse.balance")
    counted = tokens if balance == "tokens" else rows
    return np.ones(count) if counted is None else np.maximum(counted, 1).astype(np.float64)


def assign_even(similarity_NK: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
    """Portions int64 [N] of equal weight, N >= K: the optimum where units weigh the same, else near it.

    Between any two portions the weights differ by no more than the lightest unit of the heavier one.
    """
    if (weights_N == weights_N[0]).all():
        return assign_balanced(similarity_NK)[0]
    return level(similarity_NK, weights_N, weighted(similarity_NK, weights_N)[0])


def weighted(
    similarity_NK: np.ndarray, weights_N: np.ndarray, prices_K: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Portions int64 [N] of about equal weight, and their prices float64 [K].

    Some portion's weight may still be off by ENOUGH or by heavy units; none need hold a unit.
    """
    k = similarity_NK.shape[1]
    value_KN = np.ascontiguousarray(similarity_NK.T, np.float64)
    prices_K = np.zeros(k) if prices_K is None else prices_K
    best = (np.inf, prices_K, np.zeros(len(weights_N), np.int64))
    for _ in range(SWEEPS):
        portions_N = choices(value_KN, prices_K)
        load_K = np.bincount(portions_N, weights=weights_N, minlength=k)
        excess = np.maximum(load_K - load_K.mean(), 0).sum() / load_K.sum()
        if excess < best[0]:
            best = (excess, prices_K, portions_N)
        if excess <= ENOUGH:
            break
        prices_K = _sweep(value_KN, weights_N, prices_K)
    return best[2], best[1]


def _sweep(value_KN: np.ndarray, weights_N: np.ndarray, prices_K: np.ndarray) -> np.ndarray:
    """One round of exact coordinate descent: each price in turn such that its portion gets its due."""
    k, due = len(prices_K), weights_N.sum() / len(prices_K)
    prices_K = prices_K.copy()
    later_KN = np.full_like(value_KN, -np.inf)  # best net value among the portions behind
    for portion in range(k - 2, -1, -1):
        np.subtract(value_KN[portion + 1], prices_K[portion + 1], out=later_KN[portion])
        np.maximum(later_KN[portion], later_KN[portion + 1], out=later_KN[portion])
    earlier_N = np.full(len(weights_N), -np.inf)
    for portion in range(k):
        margin_N = value_KN[portion] - np.maximum(earlier_N, later_KN[portion])
        prices_K[portion] = margin_at(margin_N, weights_N, due)
        np.maximum(earlier_N, value_KN[portion] - prices_K[portion], out=earlier_N)
    return prices_K - prices_K.min()


def margin_at(margin_N: np.ndarray, weights_N: np.ndarray, due: float) -> float:
    """Between the margins of the unit with which the units of largest margin weigh `due`, and of the next.

    Only units near to it are sorted: a sample says between which margins it lies, and what is above is added up.
    """
    near, above = np.arange(len(margin_N)), 0.0
    if len(margin_N) > SORTED:
        high, low = _bracket(margin_N[::STRIDE], weights_N[::STRIDE], due / weights_N.sum())
        between = np.flatnonzero((margin_N <= high) & (margin_N >= low))
        heavier = float(weights_N[margin_N > high].sum())
        if heavier < due < heavier + weights_N[between].sum() - weights_N.max():
            near, above = between, heavier
    order = near[np.argsort(-margin_N[near], kind="stable")]
    crossing = int(np.searchsorted(above + np.cumsum(weights_N[order]), due))
    return float(margin_N[order[crossing : crossing + 2]].mean())


def _bracket(margin_S: np.ndarray, weights_S: np.ndarray, share: float) -> tuple[float, float]:
    """Margins of a sample between which its units of largest margin have that share of the weight, and wide enough
    that all units' do as well, but rarely."""
    order = np.argsort(-margin_S, kind="stable")
    reached = np.cumsum(weights_S[order])
    place = int(np.searchsorted(reached, share * reached[-1]))
    slack = 4 * int(np.sqrt(len(order))) + 1
    return margin_S[order[max(place - slack, 0)]], margin_S[order[min(place + slack, len(order) - 1)]]


def level(similarity_NK: np.ndarray, weights_N: np.ndarray, portions_N: np.ndarray) -> np.ndarray:
    """Portions after moving units from heavy to light ones, as long as a move evens two of them.

    Of two portions the units go that lose least similarity for what they even. In the end no unit is
    lighter than the gap between its portion and another; so with N >= K no portion is empty.
    """
    portions_N = portions_N.copy()
    load_K = np.bincount(portions_N, weights=weights_N, minlength=similarity_NK.shape[1])
    while True:
        target = int(load_K.argmin())
        for origin in np.argsort(-load_K, kind="stable"):
            gap = load_K[origin] - load_K[target]
            members = np.flatnonzero(portions_N == origin)
            members = members[weights_N[members] < gap]
            if gap <= 0 or len(members):
                break
        if gap <= 0 or not len(members):
            return portions_N
        loss_M = similarity_NK[members, origin] - similarity_NK[members, target]
        units = members[_cheapest(loss_M, weights_N[members], gap)]
        portions_N[units] = target
        change = weights_N[units].sum()
        load_K[origin] -= change
        load_K[target] += change


def _cheapest(loss_M: np.ndarray, weights_M: np.ndarray, gap: float) -> np.ndarray:
    """Which units to move over a gap: those of least loss that fill half of it, or the one that is cheapest."""
    order_M = np.argsort(loss_M, kind="stable")
    inside = int(np.searchsorted(np.cumsum(weights_M[order_M]), gap / 2, side="right"))
    if inside:
        return order_M[:inside]
    return (loss_M * weights_M / np.minimum(weights_M, gap - weights_M)).argmin(keepdims=True)
