"""A checkable sub-instruction, and what can stand in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dtm.foundations.registry import registry

Check = Callable[[str], bool]
rule = registry("constraint").register

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
NUMBER = rf"\d+|{'|'.join(NUMBERS)}"
QUOTED = '["“\'‘]([^"”“\\n]{1,80}?)["”\'’](?!\\w)'


@dataclass(frozen=True)
class Other:
    """What may stand in a constraint's place: its words, its check, and a response that follows it.

    `response` is None where only a person or a model could write it.
    """

    text: str
    follows: Check
    response: str | None


@dataclass(frozen=True)
class Constraint:
    """A stretch [start, end) of an instruction that says how to answer, in a way that can be checked.

    `others(response)` are those that contradict it, given a response that follows it.
    """

    rule: str
    start: int
    end: int
    follows: Check
    others: Callable[[str], Iterable[Other]]


def find(instruction: str) -> list[Constraint]:
    """All constraints that the rules find, in the order of their places; of two that overlap the longer one."""
    every = [one for method in registry("constraint").values() for one in method.function(instruction)]
    kept: list[Constraint] = []
    for one in sorted(every, key=lambda one: (one.start - one.end, one.start, one.rule)):
        if all(one.end <= other.start or other.end <= one.start for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda one: one.start)


def number_of(text: str) -> int:
    """`3` and `three` are 3."""
    return int(text) if text.isdigit() else NUMBERS.index(text.lower()) + 1


def spoken_like(text: str, number: int) -> str:
    """The number in figures or in words, as `text` has it."""
    if text.isdigit() or number > len(NUMBERS):
        return str(number)
    word = NUMBERS[number - 1]
    return word.capitalize() if text[0].isupper() else word


def cased_like(text: str, other: str) -> str:
    """`other` with a capital where `text` begins with one."""
    return other[:1].upper() + other[1:] if text[:1].isupper() else other
