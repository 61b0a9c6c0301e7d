"""Instructions on how long a response is."""

from __future__ import annotations

import re

from dtm.foundations.instructions.words import Relation, holds, parts, sentences, words
from dtm.foundations.registry import registry

instruction = registry("instruction").register
PAPER = "arXiv:2311.07911"


@instruction("length_constraints:number_words", paper=PAPER)
def number_words(response: str, *, num_words: int, relation: Relation = "at least") -> bool:
    """So many words."""
    return holds(len(words(response)), relation, num_words)


@instruction("length_constraints:number_sentences", paper=PAPER)
def number_sentences(response: str, *, num_sentences: int, relation: Relation = "at least") -> bool:
    """So many sentences."""
    return holds(len(sentences(response)), relation, num_sentences)


@instruction("length_constraints:number_paragraphs", paper=PAPER)
def number_paragraphs(response: str, *, num_paragraphs: int) -> bool:
    """Exactly so many paragraphs, divided by ***; none is blank."""
    found = parts(response, r"\s?\*\*\*\s?")
    return found is not None and len(found) == num_paragraphs


@instruction("length_constraints:nth_paragraph_first_word", paper=PAPER)
def nth_paragraph_first_word(
    response: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """So many paragraphs, divided by an empty line, of which the nth begins with that word, in any case.

    As their code has it, blank paragraphs do not count, and yet the nth is one of all.
    """
    found = response.split("\n\n")
    filled = sum(bool(part.strip()) for part in found)
    if filled != num_paragraphs or not 1 <= nth_paragraph <= filled or not found[nth_paragraph - 1].strip():
        return False
    first = found[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", first, maxsplit=1)[0].lower() == first_word.lower()
