"""Tasks with exactly one right text: what is asked is easy, how it must be written is the point."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

from dtm.testbed.split import part_of_problem
from dtm.testbed.world import TABLES, Fact, World


@dataclass(frozen=True)
class FormatTask:
    """`prompt` says what to write and how; `answer` is the only right text, letter for letter.

    `plain` is the content without the form, which is what one writes who ignores the rule.
    """

    prompt: str
    rule: str
    answer: str
    plain: str
    fact: Fact | None = None


FACT_FORMS: dict[str, tuple[str, Callable[[str], str]]] = {
    "in capital letters": ("Write {phrase} in capital letters.", str.upper),
    "as JSON": (
        'Give {phrase} as JSON with the key "answer".',
        lambda value: json.dumps({"answer": value}, ensure_ascii=False),
    ),
    "in square brackets": ("Write {phrase} in square brackets.", "[{}]".format),
    "twice with a slash": ("Write {phrase} twice, with a slash between.", "{0}/{0}".format),
    "between stars": ("Write {phrase} between two stars.", "*{}*".format),
}

WORD_FORMS: dict[str, tuple[str, Callable[[list[str]], str]]] = {
    "as a comma list": ("Separate these words with commas: {words}", ", ".join),
    "in reverse order": ("Write these words in reverse order: {words}", lambda words: " ".join(words[::-1])),
    "in alphabetical order": (
        "Write these words in alphabetical order: {words}",
        lambda words: " ".join(sorted(words)),
    ),
    "in capital letters": (
        "Write these words in capital letters: {words}",
        lambda words: " ".join(words).upper(),
    ),
    "joined by bars": ("Join these words with vertical bars: {words}", "|".join),
    "the first two words": ("Write exactly the first 2 words of: {words}", lambda words: " ".join(words[:2])),
    "the last word": ("Write exactly the last word of: {words}", lambda words: words[-1]),
    "as a JSON list": ("Write these words as a JSON list: {words}", json.dumps),
}


@cache
def load_words() -> tuple[str, ...]:
    """Common nouns and adjectives in lower case."""
    return tuple(json.loads((TABLES / "words.json").read_text(encoding="utf-8")))


def fact_task(world: World, fact: Fact, random: Random) -> FormatTask:
    """A task whose content is that fact's value."""
    rules = [rule for rule in FACT_FORMS if rule != "in capital letters" or fact.value.upper() != fact.value]
    rule = random.choice(rules)
    prompt, write = FACT_FORMS[rule]
    return FormatTask(prompt.format(phrase=world.phrase(fact)), rule, write(fact.value), fact.value, fact)


def word_task(random: Random, seed: int, part: str) -> FormatTask:
    """A task whose content stands in the prompt, from that part of all word lists."""
    while True:
        words = random.sample(load_words(), random.randint(3, 5))
        if part_of_problem(seed, " ".join(sorted(words))) == part:
            break
    rule = random.choice(list(WORD_FORMS))
    prompt, write = WORD_FORMS[rule]
    plain = " ".join(words)
    return FormatTask(prompt.format(words=plain), rule, write(words), plain)
