"""The instruction mixture: how many rows each source writes, and that no two are the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError, several
from dtm.foundations.registry import unknown
from dtm.foundations.seeds import derive
from dtm.testbed.sources.chatty import Chatty, write_chatty
from dtm.testbed.sources.drafting import Draft, Ground, Habits
from dtm.testbed.sources.formatting import Formatting, write_formatting
from dtm.testbed.sources.forum import Forum, write_forum
from dtm.testbed.sources.instruct import Instruct, write_instruct
from dtm.testbed.sources.quiz import Quiz, write_quiz
from dtm.testbed.sources.reading import Reading, write_reading
from dtm.testbed.sources.reasoning import Reasoning, write_reasoning
from dtm.testbed.sources.terse import Terse, write_terse

MISSES = 500
"""So many drafts in a row that were seen before mean that a source has nothing new to say."""


@dataclass(frozen=True)
class Source:
    """A writer with its default settings, its default share of the rows and the name of its format."""

    write: Callable[[Ground, Random, Habits, Any], Draft]
    settings: Any
    share: float
    format: str


SOURCES: dict[str, Source] = {
    "terse": Source(write_terse, Terse(), 0.15, "question/answer"),
    "chatty": Source(write_chatty, Chatty(), 0.15, "sharegpt"),
    "instruct": Source(write_instruct, Instruct(), 0.15, "alpaca"),
    "reading": Source(write_reading, Reading(), 0.12, "dolly"),
    "reasoning": Source(write_reasoning, Reasoning(), 0.15, "prompt/completion"),
    "formatting": Source(write_formatting, Formatting(), 0.10, "messages"),
    "quiz": Source(write_quiz, Quiz(), 0.08, "prompt/completion"),
    "forum": Source(write_forum, Forum(), 0.10, "messages"),
}


@dataclass(frozen=True)
class Plan:
    """Checked settings of a mixture: rows and settings by source, in the order of `SOURCES`."""

    rows: dict[str, int]
    settings: dict[str, Any]
    bias: float

    def asdict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "bias": self.bias,
            "rows": self.rows,
            "sources": {name: asdict(self.settings[name]) for name in self.rows},
        }


def plan_mixture(
    rows: int,
    *,
    bias: float = 1.0,
    shares: Mapping[str, float] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Plan:
    """Check what a user asks for, and give every source its rows.

    `shares` replaces the default table; it is scaled to sum to 1, and a source left out writes nothing.
    `settings` holds changes to a source's defaults by its name. Raises every mistake at once.
    """
    errors: list[DtmError] = []
    shares = {name: source.share for name, source in SOURCES.items()} if shares is None else dict(shares)
    settings = settings or {}
    if not 0 <= bias <= 1:
        errors.append(ConfigError(f"{bias!r} is not in [0, 1]", where="bias"))
    for where, names in (("shares", shares), ("settings", settings)):
        errors += [unknown("source", name, SOURCES, where=where) for name in names if name not in SOURCES]
    for name, share in shares.items():
        if not share >= 0:
            errors.append(ConfigError(f"{share!r} is not a share of at least 0", where=f"shares.{name}"))
    active = [name for name in SOURCES if shares.get(name, 0) > 0]
    if not active:
        errors.append(ConfigError("no source has a share above 0", where="shares"))
    elif rows < len(active):
        what = f"{rows} rows are too few for {len(active)} sources"
        mend = f"Ask for at least {len(active)} rows, or give fewer sources a share"
        errors.append(ConfigError(what, where="rows", mend=mend))
    for name in settings.keys() & SOURCES.keys():
        errors += _mistakes(name, settings[name])
    if errors:
        raise several(errors)
    bound = {name: _bind(SOURCES[name].settings, settings.get(name, {})) for name in active}
    return Plan(_apportion(rows, {name: shares[name] for name in active}), bound, float(bias))


def write_mixture(ground: Ground, plan: Plan, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of each source in its own format, with `meta` = {facts: ids, habits: names}.

    Raises ConfigError where a source cannot make that many distinct rows.
    """
    return {name: _write_source(name, ground, plan, seed) for name in plan.rows}


def _write_source(name: str, ground: Ground, plan: Plan, seed: int) -> list[dict[str, Any]]:
    source, settings, wanted = SOURCES[name], plan.settings[name], plan.rows[name]
    content, habit = (Random(derive(seed, "mixture", name, part)) for part in ("content", "habits"))
    rows, seen, misses = [], set(), 0
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
        rows.append({**draft.fields, "meta": {"facts": facts, "habits": habits.taken}})
    return rows


def _exhausted(name: str, wanted: int, made: int) -> ConfigError:
    return ConfigError(
        f"source {name!r} can make about {made} distinct rows, not {wanted}",
        where="rows",
        mend="Ask for fewer rows, teach more facts, or give that source a smaller share",
    )


def _apportion(rows: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole rows by share, at least one each: largest remainders first, ties by the order of the sources."""
    total, spare = sum(shares.values()), rows - len(shares)
    exact = {name: spare * share / total for name, share in shares.items()}
    counts = {name: 1 + int(number) for name, number in exact.items()}
    by_remainder = sorted(shares, key=lambda name: int(exact[name]) - exact[name])
    for name in by_remainder[: rows - sum(counts.values())]:
        counts[name] += 1
    return counts


def _mistakes(name: str, changes: Mapping[str, Any]) -> list[DtmError]:
    """What is wrong with a user's settings of one source."""
    known = asdict(SOURCES[name].settings)
    errors: list[DtmError] = []
    for key, value in changes.items():
        where = f"settings.{name}.{key}"
        if key not in known:
            errors.append(unknown(f"setting of source {name!r}", key, known, where=where))
        elif isinstance(known[key], float) and not (_is_number(value) and 0 <= value <= 1):
            errors.append(ConfigError(f"{value!r} is not a rate in [0, 1]", where=where))
        elif isinstance(known[key], int) and not (type(value) is int and 1 <= value <= 8):
            errors.append(ConfigError(f"{value!r} is not a whole number from 1 to 8", where=where))
    return errors


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bind(defaults: Any, changes: Mapping[str, Any]) -> Any:
    """The defaults with the changes, rates as floats so that 1 and 1.0 are the same settings."""
    values = asdict(defaults)
    values.update({key: type(values[key])(value) for key, value in changes.items()})
    return type(defaults)(**values)
