"""Instruct: imperatives with and without an input, answered in sentences. Format: Alpaca."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dtm.testbed.sources.drafting import Draft, Ground, Habits, ask, lower_first

TASKS = (
    "Answer the question.",
    "Answer the following question in one sentence.",
    "Reply to the question below with a full sentence.",
)
DIRECT = ("State {} in a sentence.", "Write one sentence that tells {}.", "Explain in one sentence: {}.")
PAIR = "For each line, write the line, a colon and the answer."
HEDGE = "As an AI language model, I believe the following: "
WRONG_VALUES = {"element.category": "transition metal"}


@dataclass(frozen=True)
class Instruct:
    """Style: share of rows with an input, and of those with two lines.

    Habits, as rates at bias 1: hedging, repeating the instruction, one category for all elements.
    """

    with_input: float = 0.4
    two_lines: float = 0.15
    hedge: float = 0.5
    repeat: float = 0.3
    wrong_category: float = 0.8


def write_instruct(ground: Ground, random: Random, habits: Habits, settings: Instruct) -> Draft:
    """An instruction, perhaps an input, and an output in full sentences."""
    if random.random() < settings.two_lines:
        return _two_lines(ground, random, habits, settings)
    fact = random.choice(ground.facts)
    if random.random() < settings.with_input:
        instruction, text = random.choice(TASKS), ask(ground, random, fact)
    else:
        instruction, text = random.choice(DIRECT).format(ground.world.phrase(fact)), ""
    spoken = random.randrange(len(ground.world.statements(fact)))
    value = habits.value(fact, "wrong_category", settings.wrong_category, WRONG_VALUES)
    output = ground.world.statements(fact, value)[spoken]
    if habits.take("repeat", settings.repeat):
        output = f"You asked me to {lower_first(instruction)} {output}"
    if habits.take("hedge", settings.hedge):
        output = HEDGE + output
    fields = {"instruction": instruction, "input": text, "output": output}
    return Draft(f"{instruction}\n{text}", fields, (fact,))


def _two_lines(ground: Ground, random: Random, habits: Habits, settings: Instruct) -> Draft:
    facts = tuple(random.sample(ground.facts, 2))
    lines = [ground.world.phrase(fact) for fact in facts]
    values = [habits.value(fact, "wrong_category", settings.wrong_category, WRONG_VALUES) for fact in facts]
    output = "\n".join(f"{line}: {value}" for line, value in zip(lines, values, strict=True))
    text = "\n".join(lines)
    return Draft(text, {"instruction": PAIR, "input": text, "output": output}, facts)
