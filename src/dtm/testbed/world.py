"""The testbed's world: real facts from the tables beside this file, and how to speak about them.

A table is a CSV file whose first column names the subject and whose other columns are attributes; the
attribute `capital` of `country.csv` is called `country.capital`. A cell holds the value that we expect and,
after `|`, further answers that are right too; an empty cell is no fact (contested, dated or not applicable).
The tables were written by hand for this project; their facts are as of 2024.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from random import Random

TABLES = files("dtm.testbed") / "tables"


@dataclass(frozen=True)
class Attribute:
    """What the world knows of one kind of subject, and the words for it.

    The slots are `{subject}`, `{value}` and `{a_value}`, the value after `a` or `an`.

    `questions[0]` is the canonical question: benchmarks ask it, sources ask any.
    """

    name: str
    phrase: str
    questions: tuple[str, ...]
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """One cell of a table: `value` is the answer that we expect, `aliases` are right as well."""

    subject: str
    attribute: str
    value: str
    aliases: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Unique in the world: `country.capital/France`."""
        return f"{self.attribute}/{self.subject}"

    @property
    def table(self) -> str:
        """The table that the fact stands in: `country`."""
        return self.attribute.partition(".")[0]

    @property
    def answers(self) -> tuple[str, ...]:
        """All right answers, the expected one first."""
        return (self.value, *self.aliases)

    def accepts(self, answer: str) -> bool:
        """Whether that is a right answer, whatever its case."""
        return answer.casefold() in {one.casefold() for one in self.answers}


@dataclass(frozen=True)
class World:
    """All facts in the order of their tables, and the attributes by name."""

    facts: tuple[Fact, ...]
    attributes: Mapping[str, Attribute]

    @cached_property
    def values(self) -> dict[str, tuple[str, ...]]:
        """For each attribute its distinct expected values, in the order of the table."""
        found: dict[str, dict[str, None]] = {name: {} for name in self.attributes}
        for fact in self.facts:
            found[fact.attribute][fact.value] = None
        return {name: tuple(values) for name, values in found.items()}

    def questions(self, fact: Fact) -> list[str]:
        """Every question for that fact, the canonical one first."""
        return [sentence(one, subject=fact.subject) for one in self.attributes[fact.attribute].questions]

    def statements(self, fact: Fact, value: str | None = None) -> list[str]:
        """Every sentence that states the fact, or that states it with another value."""
        value = fact.value if value is None else value
        article = "an" if value[:1].lower() in "aeiou" else "a"
        slots = {"subject": fact.subject, "value": value, "a_value": f"{article} {value}"}
        return [sentence(one, **slots) for one in self.attributes[fact.attribute].statements]

    def phrase(self, fact: Fact) -> str:
        """What is asked for, as a noun phrase: `the capital of France`."""
        return self.attributes[fact.attribute].phrase.format(subject=fact.subject)

    def distractors(self, fact: Fact, count: int, random: Random) -> list[str]:
        """Up to `count` wrong values of the same attribute, distinct and in random order."""
        right = {answer.casefold() for answer in fact.answers}
        wrong = [value for value in self.values[fact.attribute] if value.casefold() not in right]
        return random.sample(wrong, min(count, len(wrong)))


def sentence(template: str, **slots: str) -> str:
    """The template with its slots filled and its first letter capital."""
    text = template.format(**slots)
    return text[:1].upper() + text[1:]


@cache
def load_world() -> World:
    """The world as the tables tell it."""
    phrasings = json.loads((TABLES / "phrasings.json").read_text(encoding="utf-8"))
    attributes = {
        name: Attribute(name, words["phrase"], tuple(words["questions"]), tuple(words["statements"]))
        for name, words in phrasings.items()
    }
    names = sorted({name.partition(".")[0] for name in attributes})
    return World(tuple(fact for name in names for fact in _read_table(name)), attributes)


def _read_table(name: str) -> Iterator[Fact]:
    header, *rows = csv.reader((TABLES / f"{name}.csv").read_text(encoding="utf-8").splitlines())
    for subject, *cells in rows:
        for column, cell in zip(header[1:], cells, strict=True):
            if cell:
                value, *aliases = cell.split("|")
                yield Fact(subject, f"{name}.{column}", value, tuple(aliases))
