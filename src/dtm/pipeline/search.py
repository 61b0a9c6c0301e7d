"""`merge.weights: {search: ...}`: candidates are merged in memory, scored on dev, and the best one's weights are taken.

A strategy is a function of `score(weights) -> float`, more being better. It starts from uniform weights, so what is
found is never worse than them on dev. Every candidate is appended to a journal: after a kill the strategy asks the
same questions again, and those that were answered are not asked of the model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from math import comb
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ModelError
from dtm.foundations.files import canonical, write_json

Weights = tuple[float, ...]
Score = Callable[[Sequence[float]], float]
Progress = Callable[[dict[str, Any]], None]
SIGMA, BELOW = 0.25, -0.5  # CMA-ES's first step and the lower end of its box
DIGITS = 6
WORST = -1e30  # the score of weights whose merge is not finite


def cma_es(score: Score, count: int, budget: int, seed: int) -> None:
    """Covariance matrix adaptation with weights in [0, 1], from uniform ones.

    Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv:1604.00772, by the package cmaes. Its box reaches below 0,
    which counts as 0: otherwise no candidate would ever leave a sub-model out.
    """
    import numpy as np
    from cmaes import CMA

    box = np.tile([BELOW, 1.0], (count, 1))
    optimizer = CMA(np.full(count, 1.0 / count), SIGMA, bounds=box, seed=seed)
    while not optimizer.should_stop():
        asked = [optimizer.ask() for _ in range(optimizer.population_size)]
        optimizer.tell([(point, -score(point.clip(0.0).tolist())) for point in asked])


def greedy(score: Score, count: int, budget: int, seed: int) -> None:
    """Sub-models from the best alone on; one joins the mean where that does not lower the score.

    Wortsman et al., "Model soups", arXiv:2203.05482, algorithm 1.
    """
    alone = [score([float(one == k) for one in range(count)]) for k in range(count)]
    first, *others = sorted(range(count), key=lambda k: -alone[k])
    chosen, best = {first}, alone[first]
    for k in others:
        trial = chosen | {k}
        reached = score([(one in trial) / len(trial) for one in range(count)])
        if reached >= best:
            chosen, best = trial, reached


def uniform_grid(score: Score, count: int, budget: int, seed: int) -> None:
    """All shares that are multiples of 1/n and sum to 1, for the finest n whose grid the budget holds."""
    parts = 1
    while comb(parts + count, count - 1) <= budget - 1:  # one is for uniform weights
        parts += 1
    for point in _compositions(parts, count):
        score([part / parts for part in point])


STRATEGIES: dict[str, Callable[[Score, int, int, int], None]] = {
    "cma_es": cma_es,
    "greedy": greedy,
    "uniform_grid": uniform_grid,
}


def least_budget(count: int) -> int:
    """Uniform weights and each of `count` sub-models alone: what any strategy needs."""
    return count + 1


def search(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Find the weights, in a worker; writes `path.json`: every candidate in the order of asking.

    `job` holds search (a strategy), budget (distinct candidates), seed, merge and scoring (see `scoring`), scale_free
    (whether only the weights' shares matter), output, scratch. Returns {weights, score, uniform, loss or tasks,
    candidates}. Raises ModelError where no candidate is finite.
    """
    from dtm.pipeline.scoring import in_memory, measure

    count = len(job["merge"]["models"])
    scratch = Path(job["scratch"])
    with in_memory(job["merge"], job["scoring"]["loading"]) as merged:

        def measured(weights_K: Weights) -> dict[str, Any]:
            merged.write(weights_K)
            return measure(job["scoring"], scratch / "items")

        trail = Trail(scratch / "journal.jsonl", job["budget"], job["scale_free"], measured, progress)
        trail.follow(STRATEGIES[job["search"]], count, job["seed"])
    best = trail.best()
    write_json(Path(job["output"]) / "path.json", trail.entries)
    return {**best, "uniform": trail.entries[0]["score"], "candidates": len(trail.entries)}


class Spent(Exception):
    """The budget of candidates is used up."""


class Trail:
    """The candidates of a search, in order; each is measured once, and remembered in the journal."""

    def __init__(
        self, journal: Path, budget: int, scale_free: bool, measured: Callable[[Weights], dict[str, Any]],
        progress: Progress,
    ) -> None:  # fmt: skip
        self.journal, self.budget, self.scale_free = journal, budget, scale_free
        self.measured, self.progress = measured, progress
        self.entries: list[dict[str, Any]] = []
        self._before = _read(journal)
        self._scores: dict[Weights, float] = {}

    def follow(self, strategy: Callable[[Score, int, int, int], None], count: int, seed: int) -> None:
        """Let a strategy ask until it ends or the budget is spent; uniform weights come first."""
        try:
            self.score([1.0 / count] * count)
            strategy(self.score, count, self.budget, seed)
        except Spent:
            return

    def score(self, weights: Sequence[float]) -> float:
        """The score of a candidate; one that was asked before costs nothing."""
        weights_K = self._plain(weights)
        if weights_K not in self._scores:
            if len(self.entries) >= self.budget:
                raise Spent
            entry = self._remembered(weights_K) or self._measure(weights_K)
            self.entries.append(entry)
            self._scores[weights_K] = WORST if entry["score"] is None else entry["score"]
            best = max(self._scores.values())
            self.progress({"done": len(self.entries), "total": self.budget, "stage": f"best {best:.4g}"})
        return self._scores[weights_K]

    def best(self) -> dict[str, Any]:
        """The first candidate of the highest score."""
        finite = [entry for entry in self.entries if entry["score"] is not None]
        if not finite:
            raise ModelError("no candidate of the search has a finite score", where="merge.weights",
                             mend="Look at the loss curves of the sub-models")  # fmt: skip
        return max(finite, key=lambda entry: entry["score"])

    def _plain(self, weights: Sequence[float]) -> Weights:
        """Rounded, and as shares where their scale does not matter; weights that are all 0 are uniform ones."""
        total = sum(weights)
        if total < 10**-DIGITS:
            weights, total = [1.0] * len(weights), float(len(weights))
            return tuple(round(weight / total, DIGITS) for weight in weights)
        return tuple(round(weight / total if self.scale_free else weight, DIGITS) for weight in weights)

    def _remembered(self, weights_K: Weights) -> dict[str, Any] | None:
        """The journal's next entry, if it is of these weights; else the rest of the journal is of another path."""
        place = len(self.entries)
        if place < len(self._before) and tuple(self._before[place]["weights"]) == weights_K:
            return self._before[place]
        if place < len(self._before):
            self._before = self._before[:place]
        return None

    def _measure(self, weights_K: Weights) -> dict[str, Any]:
        try:
            entry = {"weights": list(weights_K), **self.measured(weights_K)}
        except ModelError as error:
            if "not finite" not in error.what:
                raise
            entry = {"weights": list(weights_K), "score": None, "why": error.what}
        _append(self.journal, self.entries, entry)
        return entry


def _read(journal: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; a last one that a kill cut short is not there."""
    try:
        lines = journal.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def _append(journal: Path, before: Sequence[dict[str, Any]], entry: dict[str, Any]) -> None:
    """Write the entry behind the `before`, on disk before the next candidate is begun."""
    kept = "".join(canonical(one) + "\n" for one in before).encode()
    with open(journal, "r+b" if journal.exists() else "w+b") as file:
        file.seek(len(kept))
        file.truncate()
        file.write((canonical(entry) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All tuples of `parts` whole numbers >= 0 that sum to `total`, in a fixed order."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)
