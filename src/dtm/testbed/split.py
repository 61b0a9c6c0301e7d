"""Which facts the mixture teaches, and which only the benchmarks ask about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random

from dtm.foundations.errors import ConfigError
from dtm.foundations.seeds import derive
from dtm.testbed.world import Fact, World

HELD_OUT_SHARES = {"dev": 0.1, "test": 0.2}


@dataclass(frozen=True)
class Split:
    """The facts in three parts without overlap: `dev` is for choices, `test` for scores."""

    taught: tuple[Fact, ...]
    dev: tuple[Fact, ...]
    test: tuple[Fact, ...]

    @cached_property
    def part(self) -> dict[str, str]:
        """The name of the part for each fact's id."""
        return {fact.id: name for name in ("taught", "dev", "test") for fact in getattr(self, name)}


def split_facts(world: World, seed: int, *, taught: float = 0.5, dev: float = 0.15) -> Split:
    """Split every attribute's facts by themselves, so that all parts know all attributes.

    `taught` and `dev` are fractions of each attribute's facts; the rest is `test`. Raises ConfigError where a
    fraction leaves a part without facts.
    """
    if not (taught > 0 and dev > 0 and taught + dev < 1):
        raise ConfigError(
            f"fractions of taught ({taught}) and dev ({dev}) facts leave a part empty",
            mend="Both must be above 0, and their sum below 1",
        )
    parts: dict[str, list[Fact]] = {"taught": [], "dev": [], "test": []}
    for name in world.attributes:
        facts = [fact for fact in world.facts if fact.attribute == name]
        Random(derive(seed, "split", name)).shuffle(facts)
        first, second = round(taught * len(facts)), round((taught + dev) * len(facts))
        parts["taught"] += facts[:first]
        parts["dev"] += facts[first:second]
        parts["test"] += facts[second:]
    return Split(**{name: tuple(facts) for name, facts in parts.items()})


def part_of_problem(seed: int, key: str) -> str:
    """The part of a problem that is made and not looked up (arithmetic, words): a function of its key alone.

    So a problem that a benchmark may ask is never one that the mixture teaches, however many are made.
    """
    place = derive(seed, "problem", key) / 2**64
    for name, share in HELD_OUT_SHARES.items():
        if place < share:
            return name
        place -= share
    return "taught"
