"""Cutting a sorted list of units into k runs of nearly equal weight."""

from __future__ import annotations

import numpy as np


def cut(order_N: np.ndarray, weights_N: np.ndarray, k: int) -> np.ndarray:
    """The run of each unit, int64 [N] in [0, k): units in `order_N` go to run 0, 1, ... and none is empty.

    Run t ends where the weight of all units up to there is nearest to t / k of the whole (the earlier of
    equals), moved only as far as it takes to leave no run empty. Of units of weight 1 the runs differ by
    at most one; otherwise each end is off by half of one unit's weight at most.
    """
    count = len(order_N)
    reached_N = np.concatenate([[0.0], np.cumsum(weights_N[order_N], dtype=np.float64)])
    goals = reached_N[-1] * np.arange(1, k) / k
    above = np.searchsorted(reached_N, goals).clip(1, count)
    nearer_below = goals - reached_N[above - 1] <= reached_N[above] - goals
    ends = above - nearer_below
    number = np.arange(1, k)
    ends = np.maximum.accumulate(np.maximum(ends, number) - number) + number  # each at least one on
    ends = np.minimum(ends, count - k + number)  # and as many units left as there are runs to come
    runs_N = np.empty(count, np.int64)
    runs_N[order_N] = np.repeat(np.arange(k), np.diff(ends, prepend=0, append=count))
    return runs_N


def bands(values_N: np.ndarray, count: int) -> np.ndarray:
    """The quantile band of each value, int64 [N] in [0, count): equal numbers a band, ties by position."""
    order_N = np.argsort(values_N, kind="stable")
    bands_N = np.empty(len(values_N), np.int64)
    bands_N[order_N] = np.arange(len(values_N)) * min(count, len(values_N)) // max(len(values_N), 1)
    return bands_N
