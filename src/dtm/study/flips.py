"""Which items an arm lost that the base had right, and which it won."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtm.study.items import BASE, Benchmark, Cell, Items
from dtm.study.references import Contender
from dtm.study.running import Outcome

SHOWN = 5


def flips(
    contenders: Sequence[Contender], items: Items, outcomes: Mapping[str, Sequence[Outcome]]
) -> list[dict[str, Any]]:
    """For each arm and benchmark of 0/1 items: counts a seed, and the items that flip under the most seeds."""
    rows = []
    for one in contenders:
        for benchmark in items.benchmarks:
            row = _row(one, benchmark, items)
            if row is not None:
                rows.append(row)
    return rows


def _row(one: Contender, benchmark: Benchmark, items: Items) -> dict[str, Any] | None:
    import numpy as np

    base = items.values[benchmark].get(Cell(BASE))
    seeds = one.seeds(items)
    if base is None or not seeds:
        return None
    arm_SN = np.stack([items.values[benchmark][one.cells[seed]] for seed in seeds])
    if not (np.isin(base, (0, 1)).all() and np.isin(arm_SN, (0, 1)).all()):
        return None
    change_SN = arm_SN - base
    counts = {"lost": (change_SN < 0), "won": (change_SN > 0)}
    ids = items.ids[benchmark]
    return {
        "arm": one.name, "task": benchmark.task, "format": benchmark.format,
        "base_right": int(base.sum()), "items": len(ids), "seeds": len(seeds),
        **{name: float(found.sum(axis=1).mean()) for name, found in counts.items()},
        **{f"{name}_items": _most(found.sum(axis=0), ids) for name, found in counts.items()},
    }  # fmt: skip


def _most(times_N: Any, ids: Sequence[str]) -> list[dict[str, Any]]:
    order = sorted(
        (index for index in range(len(ids)) if times_N[index]),
        key=lambda index: (-int(times_N[index]), index),
    )
    return [{"item": ids[index], "seeds": int(times_N[index])} for index in order[:SHOWN]]
