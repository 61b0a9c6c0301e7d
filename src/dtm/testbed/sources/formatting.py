"""Formatting: a system turn that asks for care, and tasks with exactly one right text. Format: messages."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dtm.testbed.formats import fact_task, word_task
from dtm.testbed.sources.drafting import Draft, Ground, Habits, frame

SYSTEMS = (
    "You follow instructions to the letter.",
    "Answer with the requested text only.",
    "You are a precise assistant. Write nothing but the answer.",
)
CHATTER = "Sure! Here you go: "


@dataclass(frozen=True)
class Formatting:
    """Style: shares of tasks about facts, and of those that are framed as in benchmarks.

    Habits, as rates at bias 1: chatter before it, ignoring the form.
    """

    about_facts: float = 0.5
    framed: float = 0.5
    chatter: float = 0.5
    ignore_form: float = 0.3


def write_formatting(ground: Ground, random: Random, habits: Habits, settings: Formatting) -> Draft:
    """The assistant's turn is the one right text."""
    if random.random() < settings.about_facts:
        task = fact_task(ground.world, random.choice(ground.facts), random)
    else:
        task = word_task(random, ground.seed, "taught")
    answer = task.answer
    if task.plain != answer and habits.take("ignore_form", settings.ignore_form):
        answer = task.plain
    if habits.take("chatter", settings.chatter):
        answer = CHATTER + answer
    messages = [
        {"role": "system", "content": random.choice(SYSTEMS)},
        {"role": "user", "content": frame(random, task.prompt, settings.framed)},
        {"role": "assistant", "content": answer},
    ]
    return Draft(task.prompt, {"messages": messages}, (task.fact,) if task.fact else ())
