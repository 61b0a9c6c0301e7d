"""The best assignment of N rows to K portions of equal size: the optimum, not a greedy fill.

Maximise sum_i similarity[i, a(i)] over all a whose portion sizes differ by at most one. This is a
transportation problem, solved in two steps:

1. Prices. The Lagrangian dual has one price a portion; each row goes where similarity minus price is
   highest. Coordinate descent finds prices that nearly fill the portions, in a few passes over the rows.
2. Shortest paths. What is still too much in one portion moves to where it lacks, each time along the
   cheapest chain of moves. The graph has a node a portion; an edge j -> l costs what the row of j loses
   that loses least in l. Prices make the start optimal for the sizes that it has, and shortest augmenting
   paths keep it so (Ahuja, Magnanti, Orlin 1993, "Network Flows", 9.7), so the end is the optimum.

Similarities are rounded once to whole multiples of 2**-32. All that follows is integer arithmetic: no
rounding can hide the optimum or make a cycle negative, and equal rows are equal.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import pairwise

import numpy as np

SCALE = 2.0**32
FAR = 2**60  # beyond any sum of K losses
SWEEPS = 30


def assign_balanced(
    similarity_NK: np.ndarray, prices_K: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Portions int64 [N], and the prices int64 [K] from which to start a similar problem.

    `similarity_NK` is any finite float array with N >= K and magnitudes below 2**20; every portion gets
    floor(N / K) rows or one more.
    """
    count, k = similarity_NK.shape
    prices_K = np.zeros(k, np.int64) if prices_K is None else prices_K
    if k == 1:
        return np.zeros(count, np.int64), prices_K
    value_KN = np.rint(similarity_NK.T * np.float64(SCALE)).astype(np.int64)
    prices_K, portions_N = _price(value_KN, prices_K)
    _level(value_KN, prices_K, portions_N)
    return portions_N, prices_K


def _price(value_KN: np.ndarray, prices_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prices that nearly fill the portions, and where the rows go at them."""
    k, count = value_KN.shape
    enough, patience = count // 2000, 3
    best_prices, best_portions = prices_K, choices(value_KN, prices_K)
    best_excess = _excess(best_portions, k)
    for _ in range(SWEEPS):
        if best_excess <= enough or not patience:
            break
        prices_K = _sweep(value_KN, prices_K)
        portions_N = choices(value_KN, prices_K)
        excess = _excess(portions_N, k)
        patience = 3 if excess < best_excess else patience - 1
        if excess < best_excess:
            best_prices, best_portions, best_excess = prices_K, portions_N, excess
    return best_prices, best_portions


def choices(value_KN: np.ndarray, prices_K: np.ndarray) -> np.ndarray:
    """Where similarity minus price is highest; of equals the first."""
    best_N, portions_N = value_KN[0] - prices_K[0], np.zeros(value_KN.shape[1], np.int64)
    for portion in range(1, len(prices_K)):
        net_N = value_KN[portion] - prices_K[portion]
        better_N = net_N > best_N
        portions_N[better_N] = portion
        np.maximum(best_N, net_N, out=best_N)
    return portions_N


def _excess(portions_N: np.ndarray, k: int) -> int:
    """Rows above the size that each portion may have at most."""
    return int(np.maximum(np.bincount(portions_N, minlength=k) + len(portions_N) // -k, 0).sum())


def _sweep(value_KN: np.ndarray, prices_K: np.ndarray) -> np.ndarray:
    """One round of exact coordinate descent: each price in turn such that N // K rows want the portion."""
    k, count = value_KN.shape
    later_KN = np.full_like(value_KN, -FAR)  # best net value among the portions behind
    for portion in range(k - 2, -1, -1):
        np.subtract(value_KN[portion + 1], prices_K[portion + 1], out=later_KN[portion])
        np.maximum(later_KN[portion], later_KN[portion + 1], out=later_KN[portion])
    earlier_N = np.full(count, -FAR)
    prices_K = prices_K.copy()
    cut = count - count // k
    for portion in range(k):
        margin_N = value_KN[portion] - np.maximum(earlier_N, later_KN[portion])
        below, above = np.partition(margin_N, (cut - 1, cut))[cut - 1 : cut + 1]
        prices_K[portion] = (below + above) // 2
        np.maximum(earlier_N, value_KN[portion] - prices_K[portion], out=earlier_N)
    return prices_K - prices_K.min()


def _level(value_KN: np.ndarray, prices_K: np.ndarray, portions_N: np.ndarray) -> None:
    """Move rows along cheapest chains, in place, until sizes are N // K, or one more in N % K portions.

    Node K of the graph is the right to that one more: j -> K takes it, K -> l gives up l's, both free.
    It starts with the highest prices, where it is worth most.
    """
    k, count = value_KN.shape
    least, over = divmod(count, k)
    extra_K = np.zeros(k, bool)
    extra_K[np.argsort(-prices_K, kind="stable")[:over]] = True
    excess_K = np.bincount(portions_N, minlength=k) - least - extra_K
    moves = _Moves(value_KN, portions_N, int(np.maximum(excess_K, 0).sum()))
    cost = np.full((k + 1, k + 1), FAR)
    stale: Iterable[int] = range(k) if excess_K.any() else []
    while excess_K.any():
        for portion in stale:
            cost[portion, :k] = moves.costs(portion)
        cost[:k, k] = np.where(extra_K, FAR, 0)
        cost[k, :k] = np.where(extra_K, 0, FAR)
        path = _cheapest(cost, excess_K)
        amount = min(excess_K[path[0]], -excess_K[path[-1]], 1 if k in path else count)
        steps = [step for step in pairwise(path) if k not in step]
        taken = {step: moves.take(*step, amount) for step in steps}
        amount = min([amount, *map(len, taken.values())])
        for (origin, target), rows in taken.items():
            moves.put_back(origin, target, rows[amount:])
            moves.move(origin, target, rows[:amount])
        if k in path:
            place = path.index(k)
            extra_K[path[place - 1]], extra_K[path[place + 1]] = True, False
        excess_K[path[0]] -= amount
        excess_K[path[-1]] += amount
        stale = [node for node in path if node < k]


def _cheapest(cost: np.ndarray, excess_K: np.ndarray) -> list[int]:
    """Nodes of a cheapest path from any portion with too much to any that lacks (Bellman-Ford)."""
    nodes = len(cost)
    distance = np.where(np.append(excess_K, 0) > 0, 0, FAR)
    before = np.full(nodes, -1)
    while True:
        through = distance[:, None] + cost
        nearest = through.argmin(axis=0)
        shorter = through[nearest, np.arange(nodes)]
        improved = shorter < distance
        if not improved.any():
            break
        distance[improved], before[improved] = shorter[improved], nearest[improved]
    path = [int(np.where(np.append(excess_K, 0) < 0, distance, FAR).argmin())]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return path[::-1]


class _Moves:
    """For each pair of portions, the rows of the first by what they lose in the second.

    Rows move one unit of excess at a time along paths that visit a portion once, so of the rows that a
    portion starts with, no pair ever uses more than `excess`: only so many, and one, are sorted. Rows that
    arrive later lie in heaps; rows that left are skipped when met.
    """

    def __init__(self, value_KN: np.ndarray, portions_N: np.ndarray, excess: int) -> None:
        self.value_KN, self.portions_N, self.k = value_KN, portions_N, len(value_KN)
        self.queues: dict[tuple[int, int], _Queue] = {}
        for origin in range(self.k) if excess else ():
            members = np.flatnonzero(portions_N == origin)
            for target in range(self.k):
                if target != origin:
                    losses = value_KN[origin, members] - value_KN[target, members]
                    self.queues[origin, target] = _Queue(losses, members, excess + 1)

    def costs(self, origin: int) -> list[int]:
        """What the cheapest row of `origin` loses in each portion; FAR where there is none."""
        return [FAR if target == origin else self._first(origin, target)[0] for target in range(self.k)]

    def take(self, origin: int, target: int, most: int) -> list[int]:
        """Up to `most` rows of `origin` that lose equally little in `target`, out of the queue."""
        loss, queue = self._first(origin, target)[0], self.queues[origin, target]
        rows: dict[int, None] = {}  # a row that came back may lie in a queue twice
        while len(rows) < most and self._first(origin, target)[0] == loss < FAR:
            rows[queue.pop()] = None
        return list(rows)

    def put_back(self, origin: int, target: int, rows: list[int]) -> None:
        for row in rows:
            self.queues[origin, target].push(self._loss(origin, target, row), row)

    def move(self, origin: int, target: int, rows: list[int]) -> None:
        for row in rows:
            self.portions_N[row] = target
            for other in range(self.k):
                if other != target:
                    self.queues[target, other].push(self._loss(target, other, row), row)

    def _loss(self, origin: int, target: int, row: int) -> int:
        return int(self.value_KN[origin, row] - self.value_KN[target, row])

    def _first(self, origin: int, target: int) -> tuple[int, int]:
        queue = self.queues[origin, target]
        while queue.first[1] >= 0 and self.portions_N[queue.first[1]] != origin:
            queue.pop()
        return queue.first


class _Queue:
    """Pairs (loss, row), least first: a sorted start that is read in order, and a heap of later ones."""

    def __init__(self, losses: np.ndarray, rows: np.ndarray, most: int) -> None:
        if most < len(losses):
            chosen = np.argpartition(losses, most)[:most]
            losses, rows = losses[chosen], rows[chosen]
        order = np.lexsort((rows, losses))
        self.start = list(zip(losses[order].tolist(), rows[order].tolist(), strict=True))
        self.start.reverse()
        self.later: list[tuple[int, int]] = []

    @property
    def first(self) -> tuple[int, int]:
        start, later = self.start[-1:], self.later[:1]
        return min(start + later, default=(FAR, -1))

    def pop(self) -> int:
        loss_row = self.first
        if self.start and self.start[-1] == loss_row:
            self.start.pop()
        else:
            heapq.heappop(self.later)
        return loss_row[1]

    def push(self, loss: int, row: int) -> None:
        heapq.heappush(self.later, (loss, row))
