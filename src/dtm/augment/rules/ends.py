"""How a response begins and ends."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dtm.augment.rules.constraints import QUOTED, Check, Constraint, Other, rule

WHAT = r"(?: (?:your|the|its) (?:entire )?(?:response|answer|reply|text|letter|email|story|poem|message))?"
PHRASE = r"(?: (?:the|this) (?:exact )?(?:phrase|words|word|sentence))?:?"
END = re.compile(rf"\b(?:end|finish|conclude){WHAT} with{PHRASE} {QUOTED}", re.IGNORECASE)
BEGIN = re.compile(rf"\b(?:begin|start|open){WHAT} with{PHRASE} {QUOTED}", re.IGNORECASE)
POSTSCRIPT = re.compile(r"\bP\.(P\.)?\s?S\.?(?!\w)")
LAST = ("That is all.", "I hope this helps.", "Is there anything else?")
FIRST = ("Here is my answer.", "Certainly.", "Let me explain.")


@rule("ending")
def ending(instruction: str) -> Iterator[Constraint]:
    """The phrase that a response ends with."""
    for found in END.finditer(instruction):
        phrase = found[1]

        def others(response: str, phrase: str = phrase) -> Iterator[Other]:
            for other in LAST:
                if other != phrase:
                    yield Other(other, ends(other), response.rstrip()[: -len(phrase)] + other)

        yield Constraint("ending", found.start(1), found.end(1), ends(phrase), others)


@rule("beginning")
def beginning(instruction: str) -> Iterator[Constraint]:
    """The phrase that a response begins with."""
    for found in BEGIN.finditer(instruction):
        phrase = found[1]

        def others(response: str, phrase: str = phrase) -> Iterator[Other]:
            for other in FIRST:
                if other != phrase:
                    yield Other(other, _begins(other), other + response.lstrip()[len(phrase) :])

        yield Constraint("beginning", found.start(1), found.end(1), _begins(phrase), others)


@rule("postscript")
def postscript(instruction: str) -> Iterator[Constraint]:
    """A postscript: P.S. or P.P.S."""
    for found in POSTSCRIPT.finditer(instruction):
        mark, other = ("P.P.S.", "P.S.") if found[1] else ("P.S.", "P.P.S.")

        def others(response: str, mark: str = mark, other: str = other) -> Iterator[Other]:
            yield Other(other, _marked(other), _pattern(mark).sub(other, response))

        yield Constraint("postscript", found.start(), found.end(), _marked(mark), others)


def ends(phrase: str) -> Check:
    """Whether a text ends with that phrase."""
    return lambda text: text.rstrip().endswith(phrase)


def _begins(phrase: str) -> Check:
    return lambda text: text.lstrip().startswith(phrase)


def _marked(mark: str) -> Check:
    return lambda text: _pattern(mark).search(text) is not None


def _pattern(mark: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.]){re.escape(mark.rstrip('.'))}\.?(?!\w)")
