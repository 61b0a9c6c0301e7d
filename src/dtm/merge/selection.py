"""Exactly the k largest magnitudes of a stream, ties going to the lower index: a radix select in two passes.

The first pass counts the top 15 bits of all magnitudes (an fp32's bits, its sign cleared, order as the number does);
the second collects the low 16 bits of those in the bucket where the cut falls. So a threshold is known to the last
bit, and with it how many values equal to it each block may keep. Nothing is sorted, and no tensor is held.

A method declares `passes=selection(scores, keep)`. `scores` makes of a block the values [S, n] to select among (S
models, say); `keep(count, ...)` says how many of them to keep, [cuts, S]. The last state is then a `Cuts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtm.merge.arithmetic import Block
from dtm.merge.kernels import kernels
from dtm.merge.method import Pass, Place, call

BUCKETS = 1 << 15
NOTHING = 0x7FFFFFFF  # a threshold above all numbers


@dataclass(frozen=True)
class Cuts:
    """For each cut and row of scores: the magnitude bits at the cut, and each block's quota of values that equal it."""

    thresholds: NDArray[np.int64]  # [cuts, S]
    quotas: dict[Place, NDArray[np.int64]]  # [cuts, S]; -1: all; a block that is not named: none

    def quota(self, place: Place) -> NDArray[np.int64]:
        return self.quotas.get(place, np.zeros_like(self.thresholds))


def trimmed(scores: Block, cuts: Cuts, place: Place, cut: int = 0) -> Block:
    """The block's scores [S, n] inside a cut as they are, and 0 in place of the others."""
    out, quota = np.empty_like(scores), cuts.quota(place)[cut]
    for row, threshold, allowed, kept in zip(scores, cuts.thresholds[cut], quota, out, strict=True):
        kernels().trim(row, int(threshold), int(allowed), kept)
    return out


def selection(scores: Callable[..., Block], keep: Callable[..., NDArray[np.int64]]) -> tuple[Pass, Pass]:
    """The two passes that find, for each row of `scores`, the cut of its `keep` largest magnitudes."""

    def count_tops(given: dict[str, Any], settings: dict[str, Any]) -> None:
        found = call(scores, given, settings)
        if "tops" not in given["total"]:  # counted in place: a table a block would cost more than its values
            given["total"]["tops"] = np.zeros((len(found), BUCKETS), np.int64)
        for row, histogram in zip(found, given["total"]["tops"], strict=True):
            kernels().histogram(row, histogram)

    def find_buckets(
        total: dict[str, Any], given: dict[str, Any], settings: dict[str, Any]
    ) -> dict[str, Any]:
        wanted = call(keep, given, settings)
        above = np.cumsum(total["tops"][:, ::-1], axis=1)[:, ::-1]  # how many are in a bucket or higher
        buckets = np.empty_like(wanted)
        for cut, row in np.ndindex(*wanted.shape):
            # The highest bucket with at least `wanted` at or above it; -1 where nothing is to be kept.
            reaching = np.flatnonzero(above[row] >= wanted[cut, row])
            buckets[cut, row] = reaching[-1] if wanted[cut, row] > 0 else -1
        higher = np.concatenate([above, np.zeros((len(above), 1), np.int64)], axis=1)
        left = np.array([[wanted[c, s] - higher[s, buckets[c, s] + 1] if buckets[c, s] >= 0 else 0
                          for s in range(wanted.shape[1])] for c in range(len(wanted))])  # fmt: skip
        return {"buckets": buckets, "left": left}

    def count_lows(given: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
        found, buckets = call(scores, given, settings), given["state"][-1]["buckets"]
        lows = {}
        for cut, row in np.ndindex(*buckets.shape):
            if buckets[cut, row] >= 0:
                values = kernels().in_bucket(found[row], int(buckets[cut, row]))
                lows[cut, row] = np.unique(values, return_counts=True)
        return {"lows": [(given["place"], lows)]}

    def find_cuts(total: dict[str, Any], state: tuple[Any, ...]) -> Cuts:
        return _cuts(total["lows"], **state[-1])

    return Pass(count_tops, find_buckets), Pass(count_lows, find_cuts)


def _cuts(lows: list[tuple[Place, dict]], buckets: NDArray[np.int64], left: NDArray[np.int64]) -> Cuts:
    """Thresholds from the low bits of the boundary buckets, and the quotas of equals in block order."""
    thresholds = np.full(buckets.shape, NOTHING, np.int64)
    quotas: dict[Place, NDArray[np.int64]] = {}
    for cut, row in np.ndindex(*buckets.shape):
        if buckets[cut, row] < 0:
            continue
        counts = np.zeros(1 << 16, np.int64)
        for _, found in lows:
            values, times = found[cut, row]
            counts[values] += times
        above = np.cumsum(counts[::-1])[::-1]
        low = int(np.flatnonzero(above >= left[cut, row])[-1])
        thresholds[cut, row] = (buckets[cut, row] << 16) | low
        equals = int(left[cut, row] - (above[low] - counts[low]))
        for place, found in lows:
            values, times = found[cut, row]
            here = int(times[np.searchsorted(values, low)]) if low in values else 0
            if here and equals > 0:
                quota = quotas.setdefault(place, np.zeros(buckets.shape, np.int64))
                quota[cut, row] = -1 if here <= equals else equals
                equals -= min(here, equals)
    return Cuts(thresholds, quotas)
