"""The language of a response: a rule can tell it, and only a model can write in another."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dtm.augment.rules.constraints import Constraint, Other, rule
from dtm.foundations.instructions.words import is_in

LANGUAGES = {"English": "en", "French": "fr", "German": "de", "Spanish": "es", "Italian": "it", "Portuguese": "pt",
             "Dutch": "nl", "Russian": "ru", "Japanese": "ja", "Korean": "ko", "Hindi": "hi",
             "Arabic": "ar"}  # fmt: skip
NAMED = re.compile(
    rf"\b(?:in|into|to) ({'|'.join(LANGUAGES)})\b(?! (?:word|history|literature|law|class|culture))"
)


@rule("language")
def language(instruction: str) -> Iterator[Constraint]:
    """The language that a response is to be in; without a model no response in another can be written."""
    for found in NAMED.finditer(instruction):
        name = found[1]

        def others(response: str, name: str = name) -> Iterator[Other]:
            for other, code in LANGUAGES.items():
                if other != name:
                    yield Other(other, lambda text, code=code: is_in(text, code), None)  # type: ignore[misc]

        yield Constraint(
            "language",
            found.start(1),
            found.end(1),
            lambda text, name=name: is_in(text, LANGUAGES[name]),
            others,
        )  # type: ignore[misc]
