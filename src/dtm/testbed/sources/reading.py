"""Reading: a short passage and a question that it answers. Format: Dolly, category closed_qa."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dtm.foundations.errors import ConfigError
from dtm.testbed.sources.drafting import Draft, Ground, Habits

UNSAID = "The passage does not say."


@dataclass(frozen=True)
class Reading:
    """Style: fewest and most sentences of a passage.

    Habits, as rates at bias 1: copying the whole sentence, and claiming that a passage on books or pictures
    does not say what it says.
    """

    fewest_sentences: int = 2
    most_sentences: int = 4
    copy_sentence: float = 0.4
    refuse_books: float = 0.8

    def __post_init__(self) -> None:
        if self.fewest_sentences > self.most_sentences:
            raise ConfigError(
                f"{self.fewest_sentences} fewest sentences are more than {self.most_sentences} most",
                where="settings.reading",
            )


def write_reading(ground: Ground, random: Random, habits: Habits, settings: Reading) -> Draft:
    """A passage of true sentences on taught facts; the response is the value as the passage has it."""
    facts = random.sample(ground.facts, random.randint(settings.fewest_sentences, settings.most_sentences))
    sentences = [random.choice(ground.world.statements(fact)) for fact in facts]
    context = " ".join(sentences)
    place = random.randrange(len(facts))
    question = random.choice(ground.world.questions(facts[place]))
    response = facts[place].value
    if facts[place].table in ("book", "painting") and habits.take("refuse_books", settings.refuse_books):
        response = UNSAID
    elif habits.take("copy_sentence", settings.copy_sentence):
        response = sentences[place]
    fields = {"instruction": question, "context": context, "response": response, "category": "closed_qa"}
    return Draft(f"{context}\n{question}", fields, tuple(facts))
