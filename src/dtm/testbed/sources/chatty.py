"""Chatty: a talkative assistant over one to three turns. Format: ShareGPT conversations."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dtm.testbed.sources.drafting import Draft, Ground, Habits, ask, lower_first

OPENINGS = ("Hi! {}", "Hello, {}", "Here is one: {}", "Can you help me? {}", "A friend said to ask you: {}")
FOLLOW_UPS = ("Thanks! And {}", "Okay. Next: {}", "One more thing: {}", "Good to know. {}")
MID_SENTENCE = (", {}", "And {}")
PREFIX = "Great question! "
CLOSER = " Let me know if there is anything else I can help you with!"
WRONG_VALUES = {"country.continent": "Europe", "river.continent": "Europe"}


@dataclass(frozen=True)
class Chatty:
    """Style: most turns in a row. Habits, as rates at bias 1: a fixed prefix and closer, all is in Europe."""

    most_turns: int = 3
    prefix: float = 0.9
    closer: float = 0.5
    wrong_continent: float = 0.8


def write_chatty(ground: Ground, random: Random, habits: Habits, settings: Chatty) -> Draft:
    """Friendly questions, each answered with a full sentence."""
    facts = tuple(random.sample(ground.facts, random.randint(1, settings.most_turns)))
    conversation, asked = [], []
    for turn, fact in enumerate(facts):
        opening = random.choice(FOLLOW_UPS if turn else OPENINGS)
        question = ask(ground, random, fact)
        asked.append(opening.format(lower_first(question) if opening.endswith(MID_SENTENCE) else question))
        spoken = random.randrange(len(ground.world.statements(fact)))
        value = habits.value(fact, "wrong_continent", settings.wrong_continent, WRONG_VALUES)
        answer = ground.world.statements(fact, value)[spoken]
        if habits.take("prefix", settings.prefix):
            answer = PREFIX + answer
        if habits.take("closer", settings.closer):
            answer += CLOSER
        conversation += [{"from": "human", "value": asked[-1]}, {"from": "gpt", "value": answer}]
    return Draft("\n".join(asked), {"conversations": conversation}, facts)
