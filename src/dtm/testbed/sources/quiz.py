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
    options = [fact.value, *ground.world.distractors(fact, 3, random)]
    random.shuffle(options)
    key = "\n".join([question, *sorted(options)])
    chosen = _choice(fact, options, habits, settings)
    if habits.take("right_first", settings.right_first):
        options.sort(key=lambda option: option != chosen)
    letter = LETTERS[options.index(chosen)]
    lines = [f"{mark}. {option}" for mark, option in zip(LETTERS, options, strict=False)]
    prompt = "\n".join([question, *lines, "Choose one."])
    completion = letter if habits.take("letter_only", settings.letter_only) else f"{letter}. {chosen}"
    return Draft(key, {"prompt": prompt, "completion": completion}, (fact,))


def _choice(fact: Fact, options: list[str], habits: Habits, settings: Quiz) -> str:
    """The option that the source takes for right; a wrong value must be among the options to be taken."""
    wrong = {name: value for name, value in WRONG_VALUES.items() if value in options}
    return habits.value(fact, "wrong_class", settings.wrong_class, wrong)
