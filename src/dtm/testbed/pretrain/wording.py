"""Which wordings of a fact the base reads, and which are kept from it so that knowing can be measured.

Of every fact one question is withheld, and one statement that ends with the value where another such one
remains (a statement that ends with the subject does not tell the value to one who reads from left to right).
The base reads these wordings of other facts, so that what it lacks is the fact's, not the sentence's.
Questions on a part of the facts are withheld altogether: a base that was never asked about a fact knows
it less readily, and that is what instruction tuning can draw out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dtm.foundations.seeds import derive
from dtm.testbed.world import Fact, World

ASKED = 0.5


@dataclass(frozen=True)
class Wordings:
    """Sentences on every fact, read or withheld; `asked` is the share of facts that text asks about."""

    world: World
    seed: int = 0
    asked: float = ASKED

    def is_asked(self, fact: Fact) -> bool:
        """Whether the base reads questions on that fact."""
        return derive(self.seed, "asked", fact.id) / 2**64 < self.asked

    @cached_property
    def asked_facts(self) -> tuple[Fact, ...]:
        """The facts that the base reads questions on."""
        return tuple(fact for fact in self.world.facts if self.is_asked(fact))

    def withheld_question(self, fact: Fact) -> str:
        """The one question on that fact that the base never reads."""
        questions = self.world.questions(fact)
        return questions[derive(self.seed, "question", fact.id) % len(questions)]

    def questions(self, fact: Fact) -> list[str]:
        """The questions on that fact that the base reads, if it reads any."""
        withheld = self.withheld_question(fact)
        return [question for question in self.world.questions(fact) if question != withheld]

    def withheld_statement(self, fact: Fact) -> str | None:
        """The statement that the base never reads, which ends with the value; None where there is but one."""
        closing = [one for one in self.world.statements(fact) if one.endswith(f" {fact.value}.")]
        return closing[derive(self.seed, "statement", fact.id) % len(closing)] if len(closing) > 1 else None

    def statements(self, fact: Fact) -> list[str]:
        """The statements of that fact that the base reads."""
        withheld = self.withheld_statement(fact)
        return [statement for statement in self.world.statements(fact) if statement != withheld]
