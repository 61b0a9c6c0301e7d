"""The instruction mixture: the rows of every source, no two of them the same."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from dtm.foundations.errors import ConfigError
from dtm.foundations.seeds import derive
from dtm.testbed.plan import Plan
from dtm.testbed.sources import SOURCES
from dtm.testbed.sources.drafting import Ground, Habits

MISSES = 500
"""So many drafts in a row that were seen before mean that a source has nothing new to say."""


def write_mixture(ground: Ground, plan: Plan, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of each source in its own format, each with `facts` (their ids) and `habits` (that showed).

    Raises ConfigError where a source cannot make that many distinct rows.
    """
    return {name: _write_source(name, ground, plan, seed) for name in plan.rows}


def _write_source(name: str, ground: Ground, plan: Plan, seed: int) -> list[dict[str, Any]]:
    source, settings, wanted = SOURCES[name], plan.settings[name], plan.rows[name]
    content, habit = (Random(derive(seed, "mixture", name, part)) for part in ("content", "habits"))
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    misses = 0
    while len(rows) < wanted:
        # Each row has its own generator for habits: what one draws must not shift the next row's.
        habits = Habits(plan.bias, Random(habit.getrandbits(64)))
        draft = source.write(ground, content, habits, settings)
        text = json.dumps(draft.fields, sort_keys=True)
        marks = {" ".join(draft.key.casefold().split()), text}
        if marks & seen:
            misses += 1
            if misses == MISSES:
                raise _exhausted(name, wanted, len(rows))
            continue
        seen |= marks
        misses = 0
        facts = [fact.id for fact in draft.facts]
        rows.append({**draft.fields, "facts": facts, "habits": habits.taken})
    return rows


def _exhausted(name: str, wanted: int, made: int) -> ConfigError:
    return ConfigError(
        f"source {name!r} can make about {made} distinct rows, not {wanted}",
        where="rows",
        mend="Ask for fewer rows, teach more facts, or give that source a smaller share",
    )
