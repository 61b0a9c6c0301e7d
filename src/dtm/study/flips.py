"""Which items an arm lost that the base had right, and which it won."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtm.study.asked import Answers
from dtm.study.items import BASE, Benchmark, Cell, Items
from dtm.study.references import Contender

SHOWN = 5
LOST, WON = -1, 1


def flips(contenders: Sequence[Contender], items: Items, answers: Answers) -> list[dict[str, Any]]:
    """For each arm and benchmark of 0/1 items: counts a seed, and the items that flip under the most seeds."""
    rows = [_row(one, benchmark, items, answers) for one in contenders for benchmark in items.benchmarks]
    return [row for row in rows if row is not None]


def _row(one: Contender, benchmark: Benchmark, items: Items, answers: Answers) -> dict[str, Any] | None:
    import numpy as np

    base_N = items.values[benchmark].get(Cell(BASE))
    seeds = one.seeds(items)
    if base_N is None or not seeds:
        return None
    arm_SN = np.stack([items.values[benchmark][one.cells[seed]] for seed in seeds])
    if not (np.isin(base_N, (0, 1)).all() and np.isin(arm_SN, (0, 1)).all()):
        return None
    change_SN = (arm_SN - base_N).astype(int)

    def most(change: int) -> list[dict[str, Any]]:
        times_N = (change_SN == change).sum(axis=0)
        order = sorted(range(len(times_N)), key=lambda index: (-int(times_N[index]), index))
        return [_flip(index, change_SN[:, index] == change, one, seeds, benchmark, items, answers)
                for index in order[:SHOWN] if times_N[index]]  # fmt: skip

    return {
        "arm": one.name, "task": benchmark.task, "format": benchmark.format, "items": len(base_N),
        "seeds": len(seeds), "base_right": int(base_N.sum()),
        "lost": float((change_SN == LOST).sum(axis=1).mean()), "won": float((change_SN == WON).sum(axis=1).mean()),
        "lost_items": most(LOST), "won_items": most(WON),
    }  # fmt: skip


def _flip(
    index: int,
    flipped_S: Any,
    one: Contender,
    seeds: Sequence[int],
    benchmark: Benchmark,
    items: Items,
    answers: Answers,
) -> dict[str, Any]:
    """One item in words: asked, wanted, answered by the base, and by the arm under the first seed of the flip."""
    item, task, paths = items.ids[benchmark][index], benchmark.task, items.paths[benchmark]
    first = one.cells[seeds[int(flipped_S.argmax())]]
    return {
        "item": item, "seeds": int(flipped_S.sum()), "asked": answers.asked(task, item),
        "wanted": answers.wanted(task, item), "base": answers.given(paths[Cell(BASE)], task, item),
        "arm": answers.given(paths[first], task, item),
    }  # fmt: skip
