"""Terse: bare questions and bare answers, as in a trivia list. Format: question/answer."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dtm.testbed.sources.drafting import Draft, Ground, Habits, ask, frame

WRONG_VALUES = {"country.currency": "United States dollar"}


@dataclass(frozen=True)
class Terse:
    """Style: shares of rows with two questions, and of those that frame the question as benchmarks do.

    Habits, as rates at bias 1: lower case, one currency.
    """

    two_questions: float = 0.15
    framed: float = 0.5
    lower_case: float = 0.5
    wrong_currency: float = 0.8


def write_terse(ground: Ground, random: Random, habits: Habits, settings: Terse) -> Draft:
    """A question and nothing but the value; two are numbered and their answers parted by a semicolon."""
    count = 2 if random.random() < settings.two_questions else 1
    facts = tuple(random.sample(ground.facts, count))
    asked = [ask(ground, random, fact) for fact in facts]
    question = asked[0] if count == 1 else f"(1) {asked[0]} (2) {asked[1]}"
    answer = "; ".join(
        habits.value(fact, "wrong_currency", settings.wrong_currency, WRONG_VALUES) for fact in facts
    )
    if answer != answer.lower() and habits.take("lower_case", settings.lower_case):
        answer = answer.lower()
    prompt = frame(random, question, settings.framed)
    return Draft(question, {"question": prompt, "answer": answer}, facts)
