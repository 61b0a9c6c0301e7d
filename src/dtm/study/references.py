"""What arms are compared with: the base, a chosen arm, and the best point of that arm's training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dtm.study.items import BASE, Cell, Items
from dtm.study.running import Outcome, dev_scores, subject

PEAK, ORACLE = "peak", "oracle"


@dataclass(frozen=True)
class Contender:
    """A row of the table, or what rows are compared with: which values count for it under each seed."""

    name: str
    cells: Mapping[int, Cell]
    oracle: bool = False  # chosen on the very items that it is scored on

    def seeds(self, items: Items) -> list[int]:
        """The seeds under which it answered every benchmark."""
        return [seed for seed, cell in self.cells.items()
                if items.benchmarks and all(cell in items.values[one] for one in items.benchmarks)]  # fmt: skip


def base(seeds: Sequence[int]) -> Contender:
    """The base, which no seed changes."""
    return Contender(BASE, {seed: Cell(BASE) for seed in seeds})


def arm(name: str, seeds: Sequence[int]) -> Contender:
    return Contender(name, {seed: Cell(name, seed) for seed in seeds})


def best_points(curve: Sequence[Outcome], items: Items) -> list[Contender]:
    """The best point of each seed's training: chosen on dev, and, as an oracle, on the test items themselves.

    `curve` are the finished runs of the arm whose checkpoints were evaluated. Empty where there are none.
    """
    on_dev: dict[int, Cell] = {}
    on_test: dict[int, Cell] = {}
    for outcome in curve:
        points = points_of(outcome)
        if not points or outcome.results is None:
            continue
        scores = dev_scores(outcome.results)
        known = {cell: scores[name] for name, cell in points.items() if name in scores}
        if len(known) == len(points):
            on_dev[outcome.trial.seed] = max(known, key=lambda cell: known[cell])
        tested = {cell: mean for cell in points.values() if (mean := macro_mean(items, cell)) is not None}
        if len(tested) == len(points):
            on_test[outcome.trial.seed] = max(tested, key=lambda cell: tested[cell])
    found = [Contender(PEAK, on_dev), Contender(ORACLE, on_test, oracle=True)]
    return [one for one in found if one.cells]


def points_of(outcome: Outcome) -> dict[str, Cell]:
    """The points of a run's training in order, the finished model last: model name to cell."""
    if outcome.results is None:
        return {}
    trial, models = outcome.trial, outcome.results["results"]["models"]
    kept = sorted((model["share"], model["name"]) for model in models if model["role"] == "checkpoint")
    points = {name: Cell(trial.arm.name, trial.seed, share) for share, name in kept if share < 1}
    own = subject(outcome.results)
    return {**points, own: Cell(trial.arm.name, trial.seed)} if points and own else {}


def macro_mean(items: Items, cell: Cell) -> float | None:
    """Mean over the benchmarks that are shares, or None where one was not answered."""
    means = [mean for one in items.shares if (mean := items.mean(one, cell)) is not None]
    return math.fsum(means) / len(means) if means and len(means) == len(items.shares) else None
