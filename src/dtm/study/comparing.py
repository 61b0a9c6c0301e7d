"""Every arm against every reference, benchmark by benchmark and in the mean: differences with their errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dtm.foundations import crossed
from dtm.foundations.seeds import derive
from dtm.foundations.statistics import LEVEL, RESAMPLES, holm
from dtm.study.items import Benchmark, Cell, Items
from dtm.study.references import Contender

if TYPE_CHECKING:
    import numpy as np

ALPHA = 1 - LEVEL
MEANS = MEAN, GAINS, COSTS = "mean", "gains", "costs"


@dataclass(frozen=True)
class Group:
    """What one row of a comparison is about: a benchmark, or a mean over several."""

    name: str
    benchmarks: tuple[Benchmark, ...]

    @property
    def single(self) -> bool:
        return self.name not in MEANS


def groups(items: Items, gains: Sequence[str], costs: Sequence[str]) -> list[Group]:
    """Each benchmark, then the mean over all shares, over the gains and over the costs."""
    found = [Group(label(one, items), (one,)) for one in items.benchmarks]
    shares = items.shares
    if len(shares) > 1:
        found.append(Group(MEAN, tuple(shares)))
    for name, tasks in ((GAINS, gains), (COSTS, costs)):
        if chosen := tuple(one for one in shares if one.task in tasks):
            found.append(Group(name, chosen))
    return found


def label(benchmark: Benchmark, items: Items) -> str:
    """The task, with its prompt format where there is more than one."""
    several = len({one.format for one in items.benchmarks}) > 1
    return f"{benchmark.task} ({benchmark.format})" if several else benchmark.task


def group_mean(items: Items, group: Group, cell: Cell) -> float | None:
    """Mean over the group's benchmarks, or None where the cell did not answer one."""
    means = [items.mean(one, cell) for one in group.benchmarks]
    known = [mean for mean in means if mean is not None]
    return math.fsum(known) / len(known) if len(known) == len(means) else None


@dataclass
class Comparer:
    """Compares contenders over the same draws of seeds and items, so that all intervals go together."""

    items: Items
    groups: Sequence[Group]
    resamples: int = RESAMPLES
    _draws: dict[Benchmark, dict[Cell, np.ndarray]] = field(default_factory=dict)

    def score(self, one: Contender, group: Group) -> crossed.Estimate | None:
        """A contender's own score, its seeds and items drawn at random; the base has no seeds to draw."""
        seeds = one.seeds(self.items)
        if not seeds:
            return None
        if len(set(one.cells.values())) == 1:
            seeds = seeds[:1]
        return crossed.crossed([self._table(one, seeds, benchmark) for benchmark in group.benchmarks])

    def rows(self, one: Contender, other: Contender) -> list[dict[str, Any]]:
        """One row a group; none where the two share no seed. `p` waits for `corrected`."""
        both = set(other.seeds(self.items))
        seeds = [seed for seed in one.seeds(self.items) if seed in both]
        return [self._row(one, other, group, seeds) for group in self.groups] if seeds else []

    def _row(self, one: Contender, other: Contender, group: Group, seeds: list[int]) -> dict[str, Any]:
        import numpy as np

        pairs = [
            (self._table(one, seeds, each), self._table(other, seeds, each)) for each in group.benchmarks
        ]
        tables = [a - b for a, b in pairs]
        found = crossed.crossed(tables)
        means_BS = np.mean(
            [
                np.stack(
                    [
                        self._drawn(each, one.cells[seed]) - self._drawn(each, other.cells[seed])
                        for seed in seeds
                    ],
                    axis=1,
                )
                for each in group.benchmarks
            ],
            axis=0,
        )
        only_a = only_b = exact = None
        if group.single:
            only_a, only_b, exact = crossed.mcnemar_over_seeds(*pairs[0], seed=derive(0, "signs", group.name))
        by_seed = np.mean([table.mean(axis=1) for table in tables], axis=0).tolist()
        return {
            "arm": one.name, "against": other.name, "oracle": other.oracle, "group": group.name,
            "task": group.benchmarks[0].task if group.single else None,
            "format": group.benchmarks[0].format if group.single else None,
            "seeds": seeds, "items": sum(table.shape[1] for table in tables),
            "difference": found.value, "low": found.low, "high": found.high,
            "bootstrap": list(crossed.pigeonhole(means_BS, derive(0, "seeds", len(seeds)))),
            "over_seeds": _listed(crossed.over_seeds(by_seed)),
            "by_seed": {str(seed): value for seed, value in zip(seeds, by_seed, strict=True)},
            "only_arm": only_a, "only_against": only_b, "p_mcnemar": exact,
            "p": max(found.p, exact or 0.0), "p_holm": None, "detectable": None, "verdict": "screened",
            "_estimate": found,
        }  # fmt: skip

    def _table(self, one: Contender, seeds: Sequence[int], benchmark: Benchmark) -> np.ndarray:
        import numpy as np

        return np.stack([self.items.values[benchmark][one.cells[seed]] for seed in seeds])

    def _drawn(self, benchmark: Benchmark, cell: Cell) -> np.ndarray:
        """The cell's mean in each draw of the benchmark's items [resamples]; all cells are drawn together."""
        import numpy as np

        if benchmark not in self._draws:
            cells = list(self.items.values[benchmark])
            values = np.stack([self.items.values[benchmark][one] for one in cells])
            seed = derive(0, "items", benchmark.task, benchmark.format)
            means = crossed.resampled_means(values, seed, self.resamples)
            self._draws[benchmark] = dict(zip(cells, means.T, strict=True))
        return self._draws[benchmark][cell]

    @cached_property
    def lower_is_better(self) -> set[str]:
        from dtm.report.wording import lower_is_better

        return {
            group.name
            for group in self.groups
            if group.single and lower_is_better(group.benchmarks[0].metric)
        }


def corrected(
    rows: list[dict[str, Any]], claiming: set[str], seeds: int, lower_is_better: set[str]
) -> list[dict[str, Any]]:
    """The rows with Holm's correction and a verdict.

    A family is one question put to all arms that carry a claim, against one reference: the means, or the single
    benchmarks. `better` and `worse` need a corrected p below 0.05 and an interval without 0. Rows without a claim are
    `screened`, also where the reference lacks some of the study's `seeds`; those against a point that was chosen on
    the test items are `oracle`.
    """
    families: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for row in rows:
        if row["arm"] in claiming and len(row["seeds"]) == seeds and not row["oracle"]:
            families.setdefault((row["against"], row["task"] is None), []).append(row)
    for family in families.values():
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = p
            row["detectable"] = row["_estimate"].detectable(len(family)) or None
            row["verdict"] = _verdict(row, row["group"] in lower_is_better)
    for row in rows:
        if row["oracle"]:
            row["verdict"] = "oracle"
        del row["_estimate"]
    return rows


def _verdict(row: dict[str, Any], lower_is_better: bool) -> str:
    if row["p_holm"] >= ALPHA or row["low"] <= 0 <= row["high"]:
        return "open"
    return "better" if (row["difference"] > 0) != lower_is_better else "worse"


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
