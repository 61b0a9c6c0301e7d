"""Extractors of the final answer of a response, which may reason before it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from dtm.foundations.answers.comparing import normalise, number_in
from dtm.foundations.registry import registry
from dtm.foundations.settings import Fault

answer = registry("answer").register

STATED = re.compile(
    r"(?i:answer|choice|option)(?:\s+is\b\s*:?|\s*[:=])\s*[*\"']*(?:[(\[]([A-Za-z])[)\]]|([A-Z])(?![\w'’]))"
)


class Pattern:
    """A regular expression."""

    def describe(self, base: str) -> str:
        return "a regular expression"

    def faults(self, value: Any) -> Iterator[Fault]:
        try:
            re.compile(value)
        except re.error as error:
            yield Fault("", f"{value!r} is no regular expression ({error})")

    def plain(self, value: Any) -> Any:
        return value


class Letters:
    """Different capital letters."""

    def describe(self, base: str) -> str:
        return "capital letters"

    def faults(self, value: Any) -> Iterator[Fault]:
        if not re.fullmatch("[A-Z]+", value) or len(set(value)) < len(value):
            yield Fault("", f"{value!r} is not a row of different capital letters", "Write ABCD")

    def plain(self, value: Any) -> Any:
        return value


@answer("number")
def number(response: str) -> str | None:
    """The last number: `1,200.50` and `1200.5` are the same."""
    found = number_in(response)
    return None if found is None else f"{(found + 0).normalize():f}"  # + 0: there is no minus zero


@answer("choice")
def choice(response: str, *, letters: Annotated[str, Letters()] = "ABCDE") -> str | None:
    """A letter: the last that is called the answer, else the one that the response begins with, else the last alone."""
    named = ((one or other).upper() for one, other in STATED.findall(response))
    stated = [letter for letter in named if letter in letters]
    first = re.match(rf"\s*[*(\[]*([{letters}])(?![\w'’])", response)
    alone = re.findall(rf"(?<![\w'’])([{letters}])(?![\w'’])", response)
    return stated[-1] if stated else first[1] if first else alone[-1] if alone else None


@answer("exact")
def exact(response: str, *, case_sensitive: bool = False) -> str | None:
    """All of the text, as SQuAD compares it; with `case_sensitive` all but the spaces around it counts."""
    text = response.strip() if case_sensitive else normalise(response)
    return text or None


@answer("regex")
def regex(response: str, *, pattern: Annotated[str, Pattern()], case_sensitive: bool = False) -> str | None:
    """The last match of a pattern, of its first group if it has one; compared as `exact` compares."""
    found = list(re.finditer(pattern, response))
    if not found:
        return None
    text = found[-1][1 if found[-1].re.groups else 0]
    return exact(text, case_sensitive=case_sensitive) if text else None
