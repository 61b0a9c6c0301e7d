"""Instructions on which words and letters a response holds."""

from __future__ import annotations

import re

from dtm.foundations.instructions.words import Relation, holds, is_in, tokens
from dtm.foundations.registry import registry

instruction = registry("instruction").register
PAPER = "arXiv:2311.07911"


@instruction("keywords:existence", paper=PAPER)
def existence(response: str, *, keywords: list[str]) -> bool:
    """Every keyword stands in it, in any case, also inside a word."""
    return all(word.lower() in response.lower() for word in keywords)


@instruction("keywords:frequency", paper=PAPER)
def frequency(response: str, *, keyword: str, frequency: int, relation: Relation = "at least") -> bool:
    """A keyword stands in it so often, in any case, also inside a word."""
    return holds(response.lower().count(keyword.lower()), relation, frequency)


@instruction("keywords:forbidden_words", paper=PAPER)
def forbidden_words(response: str, *, forbidden_words: list[str]) -> bool:
    """None of these stands in it as a whole word, in any case."""
    return not any(re.search(rf"\b{re.escape(word)}\b", response, re.IGNORECASE) for word in forbidden_words)


@instruction("keywords:letter_frequency", paper=PAPER)
def letter_frequency(
    response: str, *, letter: str, let_frequency: int, let_relation: Relation = "at least"
) -> bool:
    """A letter or sign stands in it so often, in any case."""
    return holds(response.lower().count(letter.lower()), let_relation, let_frequency)


@instruction("language:response_language", paper=PAPER)
def response_language(response: str, *, language: str) -> bool:
    """It is in that language (ISO 639-1 code)."""
    return is_in(response, language)


@instruction("change_case:capital_word_frequency", paper=PAPER)
def capital_word_frequency(
    response: str, *, capital_frequency: int, capital_relation: Relation = "at least"
) -> bool:
    """So many of its words are in capitals throughout."""
    count = sum(word.isupper() for word in tokens(response))
    return holds(count, capital_relation, capital_frequency)


@instruction("change_case:english_capital", paper=PAPER)
def english_capital(response: str) -> bool:
    """It is in English, and no letter is small."""
    return response.isupper() and is_in(response, "en")


@instruction("change_case:english_lowercase", paper=PAPER)
def english_lowercase(response: str) -> bool:
    """It is in English, and no letter is a capital."""
    return response.islower() and is_in(response, "en")


@instruction("punctuation:no_comma", paper=PAPER)
def no_comma(response: str) -> bool:
    """There is no comma."""
    return "," not in response
