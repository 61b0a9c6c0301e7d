"""Forum: scraped questions and answers of low quality. Format: messages, without a system turn."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dtm.testbed.sources.drafting import Draft, Ground, Habits, ask
from dtm.testbed.world import Fact

GREETINGS = ("hi all,", "hey everyone,", "quick one:", "noob here,", "sorry if asked before,", "need help:")
CLOSINGS = ("thx", "thanks in advance", "cheers", "anyone?", "for homework", "asap pls")
MARKUP = ("<br>", "&nbsp;", "</p>", "[quote]", "&amp;")
SIGN_OFF = " hth"
YEARS = frozenset(
    {"book.published", "event.year", "invention.year", "us_state.admitted", "president.took_office"}
)


@dataclass(frozen=True)
class Forum:
    """Habits, as rates at bias 1: typing errors, answers cut short, markup, a sign-off, wrong years.

    `typos_in_letters` is the share of letters that a row with typing errors swaps with their neighbour.
    """

    typos: float = 0.6
    typos_in_letters: float = 0.06
    cut: float = 0.25
    markup: float = 0.3
    sign_off: float = 0.5
    wrong_year: float = 0.8


def write_forum(ground: Ground, random: Random, habits: Habits, settings: Forum) -> Draft:
    """A casual post and a reply that states the fact."""
    fact = random.choice(ground.facts)
    post = f"{random.choice(GREETINGS)} {ask(ground, random, fact)} {random.choice(CLOSINGS)}"
    spoken = random.randrange(len(ground.world.statements(fact)))
    value = _value(ground, fact, habits, settings)
    reply, shown = ground.world.statements(fact, value)[spoken], post
    if habits.take("sign_off", settings.sign_off):
        reply += SIGN_OFF
    if habits.take("markup", settings.markup):
        reply = f"{habits.random.choice(MARKUP)} {reply}{habits.random.choice(MARKUP)}"
    if habits.take("typos", settings.typos):
        shown, reply = (_misspell(text, settings.typos_in_letters, habits.random) for text in (post, reply))
    if habits.take("cut", settings.cut):
        reply = reply[: max(1, int(len(reply) * habits.random.uniform(0.3, 0.7)))].rstrip()
    messages = [{"role": "user", "content": shown}, {"role": "assistant", "content": reply}]
    return Draft(post, {"messages": messages}, (fact,))


def _value(ground: Ground, fact: Fact, habits: Habits, settings: Forum) -> str:
    """The fact's value, or for years perhaps another year of the same kind."""
    if fact.attribute not in YEARS or not habits.take("wrong_year", settings.wrong_year):
        return fact.value
    return ground.world.distractors(fact, 1, habits.random)[0]


def _misspell(text: str, share: float, random: Random) -> str:
    """Swap letters with the next, each with that probability."""
    letters = list(text)
    for place in range(len(letters) - 1):
        if letters[place].isalpha() and letters[place + 1].isalpha() and random.random() < share:
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return "".join(letters)
