"""The language of a response: a rule can tell it, and only a model can write in another."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dtm.augment.rules.constraints import Check, Constraint, Other, rule
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
                    yield Other(other, _is_in(code), None)

        yield Constraint("language", found.start(1), found.end(1), _is_in(LANGUAGES[name]), others)


def _is_in(code: str) -> Check:
    return lambda text: is_in(text, code)
