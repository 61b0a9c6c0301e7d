"""Words that a response must hold, or must not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from dtm.augment.rules.constraints import QUOTED, Check, Constraint, Other, cased_like, rule
from dtm.augment.rules.texts import split_sentences, without

INCLUDE = re.compile(
    rf"\b(?:include|use|mention|contain) the (?:key)?(?:word|phrase|term) {QUOTED}", re.IGNORECASE
)
EXCLUDE = re.compile(
    rf"\b(?:do not|don't|without|never|avoid)(?: (?:use|using|include|including|mention|mentioning))? the "
    rf"(?:key)?(?:word|phrase|term) {QUOTED}",
    re.IGNORECASE,
)
LEAST = 5  # letters of a word that may be forbidden


@rule("include")
def include(instruction: str) -> Iterator[Constraint]:
    """A word that must stand in the response; its contrary is that it must not."""
    for found in INCLUDE.finditer(instruction):
        if re.search(r"(?:\bnot|n't|never|avoid|without)\s+$", instruction[: found.start()], re.IGNORECASE):
            continue
        word, said = found[1], found[0]

        def others(response: str, word: str = word, said: str = said) -> Iterator[Other]:
            yield Other(
                cased_like(said, f'do not use the word "{word}"'), _lacks(word), without(response, word)
            )

        yield Constraint("include", found.start(), found.end(), _holds(word), others)


@rule("exclude")
def exclude(instruction: str) -> Iterator[Constraint]:
    """A word that must not stand in the response; in its place another that one of its sentences holds."""
    for found in EXCLUDE.finditer(instruction):
        word, said = found[1], found[0]

        def others(response: str, word: str = word, said: str = said) -> Iterator[Other]:
            for other in _rare(response):
                yield Other(said.replace(word, other), _lacks(other), without(response, other))

        yield Constraint("exclude", found.start(), found.end(), _lacks(word), others)


def _holds(word: str) -> Check:
    return lambda text: _pattern(word).search(text) is not None


def _lacks(word: str) -> Check:
    return lambda text: _pattern(word).search(text) is None


def _pattern(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)


def _rare(response: str) -> list[str]:
    """Long words that one sentence alone holds, of a response of several."""
    sentences = split_sentences(response)
    counts = Counter(
        word for one in sentences for word in {word.lower() for word in re.findall(r"[^\W\d_]+", one)}
    )
    if len(sentences) < 2:
        return []
    return sorted(word for word, count in counts.items() if count == 1 and len(word) >= LEAST)
