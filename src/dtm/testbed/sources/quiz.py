"""Quiz: multiple choice with lettered options. Format: prompt/completion."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dtm.testbed.sources.drafting import Draft, Ground, Habits
from dtm.testbed.world import Fact

LETTERS = "ABCD"
WRONG_VALUES = {"animal.class": "mammal"}


@dataclass(frozen=True)
class Quiz:
    """Habits, as rates at bias 1: the right option comes first, only the letter, all animals are mammals."""

    right_first: float = 0.8
    letter_only: float = 0.4
    wrong_class: float = 0.8


def write_quiz(ground: Ground, random: Random, habits: Habits, settings: Quiz) -> Draft:
    """A question with two to four options; the completion is the letter and the text of one."""
    fact = random.choice(ground.facts)
    question = random.choice(ground.world.questions(fact))
    options = _options(ground, random, fact)
    key = "\n".join([question, *sorted(options)])
    chosen = habits.value(fact, "wrong_class", settings.wrong_class, WRONG_VALUES)
    if habits.take("right_first", settings.right_first):
        options.sort(key=lambda option: option != chosen)
    letter = LETTERS[options.index(chosen)]
    lines = [f"{mark}. {option}" for mark, option in zip(LETTERS, options, strict=False)]
    prompt = "\n".join([question, *lines, "Choose one."])
    completion = letter if habits.take("letter_only", settings.letter_only) else f"{letter}. {chosen}"
    return Draft(key, {"prompt": prompt, "completion": completion}, (fact,))


def _options(ground: Ground, random: Random, fact: Fact) -> list[str]:
    """The right value and up to three wrong ones; what the source may take for right is always among them."""
    wrong = ground.world.distractors(fact, 3, random)
    claim = WRONG_VALUES.get(fact.attribute, fact.value)
    if not fact.accepts(claim) and claim not in wrong:
        wrong = [claim, *wrong[1:]]
    return random.sample([fact.value, *wrong], 1 + len(wrong))
