"""How much: sentences, words, list entries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from dtm.augment.rules.constraints import NUMBER, Check, Constraint, Other, number_of, rule, spoken_like
from dtm.augment.rules.texts import entries, first_sentences, listed, split_sentences
from dtm.foundations.instructions.words import words

SENTENCES = re.compile(
    rf"\b(?:in|with|of|use|using|write)(?: exactly| just| only)? ({NUMBER}) sentences?\b", re.IGNORECASE
)
UNITS = "sentence|word|paragraph|character|letter|line|time|second|minute|hour|day|week|month|year"
VERBS = "list|name|give(?: me)?|suggest|provide|write|create|describe|mention|identify|offer"
ENTRIES = re.compile(
    rf"\b(?:{VERBS})(?: exactly| just| only)? ({NUMBER}) (?!(?:{UNITS})s?\b)[a-z]"
    rf"|\b(?:in|with|as|using) (?:exactly )?({NUMBER}) (?:bullet points|bullets|items)\b",
    re.IGNORECASE,
)
AT_MOST = r"at most|no more than|not more than|up to|a maximum of"
LIMIT = re.compile(
    rf"\b(?P<how>{AT_MOST}|fewer than|less than|under|at least|more than) (?P<number>\d+) words\b",
    re.IGNORECASE,
)


@rule("sentences")
def number_of_sentences(instruction: str) -> Iterator[Constraint]:
    """Exactly so many sentences."""
    for found in SENTENCES.finditer(instruction):
        count = number_of(found[1])

        def others(
            response: str, count: int = count, phrase: str = found[0], said: str = found[1]
        ) -> Iterator[Other]:
            for fewer in range(1, count):
                asked = _plural(phrase, fewer).replace(said, spoken_like(said, fewer))
                yield Other(asked, _sentences(fewer), first_sentences(response, fewer))

        yield Constraint("sentences", found.start(), found.end(), _sentences(count), others)


def _sentences(count: int) -> Check:
    return lambda text: len(split_sentences(text)) == count


def _plural(phrase: str, count: int) -> str:
    stem = re.sub(r"sentences?$", "sentence", phrase, flags=re.IGNORECASE)
    return stem if count == 1 else f"{stem}s"


@rule("entries")
def number_of_entries(instruction: str) -> Iterator[Constraint]:
    """A list of exactly so many entries: bullets, numbers, lines, or between commas."""
    for found in ENTRIES.finditer(instruction):
        place = 1 if found[1] else 2
        count = number_of(found[place])

        def others(response: str, said: str = found[place], count: int = count) -> Iterator[Other]:
            for fewer in range(2, count):
                yield Other(spoken_like(said, fewer), _entries(fewer), listed(response, fewer))

        if count > 2:
            yield Constraint("entries", found.start(place), found.end(place), _entries(count), others)


def _entries(count: int) -> Check:
    return lambda text: len(entries(text)) == count


@rule("words")
def number_of_words(instruction: str) -> Iterator[Constraint]:
    """At least or at most so many words; its contrary, or a lower limit."""
    for found in LIMIT.finditer(instruction):
        how, count = found["how"].lower(), int(found["number"])
        least = count if how == "at least" else count + 1 if how == "more than" else None
        most = None if least else count - 1 if how in ("fewer than", "less than", "under") else count
        others = partial(_shorter, least=least, count=count)
        yield Constraint("words", found.start(), found.end(), _words(least, most), others)


def _words(least: int | None, most: int | None) -> Check:
    return lambda text: (least or 0) <= len(words(text)) and (most is None or len(words(text)) <= most)


def _shorter(response: str, *, least: int | None, count: int) -> Iterator[Other]:
    """As many leading sentences as stay below what was asked for, or below what was written."""
    sentences = split_sentences(response)
    for kept in range(len(sentences) - 1, 0, -1):
        text = first_sentences(response, kept) or ""
        limit = count - 1 if least else -(-len(words(text)) // 5) * 5
        if len(words(text)) <= limit < len(words(response)):
            yield Other(f"at most {limit} words", _words(None, limit), text)
            return
