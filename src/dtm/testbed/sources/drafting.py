"""What all sources write with: the ground they stand on, their habits, and the draft that they hand in.

A source is a function `write(ground, random, habits, settings) -> Draft` and a frozen dataclass of settings.
`random` draws what is asked; habits have their own generator, so that the same seed asks the same questions
in the same order at every bias, and two mixtures differ only by the habits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from dtm.testbed.world import Fact, World

IMPERATIVES = ("Tell me {}.", "Give {}.", "Name {}.", "State {}.", "I want to know {}.")


@dataclass(frozen=True)
class Ground:
    """What a source may draw from: `facts` are the taught ones; `seed` decides the part of made problems."""

    world: World
    facts: tuple[Fact, ...]
    seed: int


class Habits:
    """Decides which habits show in one row; `taken` names those that did, in order and once each."""

    def __init__(self, bias: float, random: Random) -> None:
        self.bias, self.random = bias, random
        self.taken: list[str] = []

    def take(self, name: str, rate: float) -> bool:
        """True with probability `bias * rate`."""
        shows = self.random.random() < self.bias * rate
        if shows:
            self.note(name)
        return shows

    def note(self, name: str) -> None:
        """Remember that the habit showed."""
        if name not in self.taken:
            self.taken.append(name)

    def value(self, fact: Fact, name: str, rate: float, wrong: Mapping[str, str]) -> str:
        """The fact's value, or with probability `bias * rate` what `wrong` says for its attribute."""
        claim = wrong.get(fact.attribute)
        if claim is None or fact.accepts(claim):
            return fact.value
        return claim if self.take(name, rate) else fact.value


@dataclass(frozen=True)
class Draft:
    """One row: `fields` as its format has them, and the facts that it asks about or tells.

    `key` is the prompt without habits; within a source no two rows have the same.
    """

    key: str
    fields: dict[str, Any]
    facts: tuple[Fact, ...] = ()


def ask(ground: Ground, random: Random, fact: Fact) -> str:
    """One of all the ways to ask for a fact: its questions, and imperatives with its phrase."""
    phrase = ground.world.phrase(fact)
    return random.choice([*ground.world.questions(fact), *(one.format(phrase) for one in IMPERATIVES)])


def frame(random: Random, prompt: str, share: float) -> str:
    """With probability `share` the prompt as benchmarks put it; collections made of data sets hold many such."""
    return f"Question: {prompt}\nAnswer:" if random.random() < share else prompt


def lower_first(text: str) -> str:
    """A question or imperative as it stands inside a sentence; `I want` stays."""
    return text if text.startswith("I ") else text[:1].lower() + text[1:]
