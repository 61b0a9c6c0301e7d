"""Words that stand in the prompt, and what is to be done with them: there is one right text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dtm.augment.rules.constraints import Constraint, Other, number_of, rule

Write = Callable[[list[str]], str]


@dataclass(frozen=True)
class Task:
    """How it is asked for, and what is right; a pattern for other ways to ask."""

    asked: str
    write: Write
    pattern: str


THESE = r"(?:these|the following) (?:words|names|items)"
TASKS = (
    Task("Separate these words with commas", ", ".join, rf"Separate {THESE} (?:with|by) commas"),
    Task("Separate these words with semicolons", "; ".join, rf"Separate {THESE} (?:with|by) semicolons"),
    Task("Write these words in reverse order", lambda words: " ".join(words[::-1]),
         rf"(?:Write|Put|List) {THESE} in reverse order"),
    Task("Write these words in alphabetical order", lambda words: " ".join(sorted(words, key=str.lower)),
         rf"(?:(?:Write|Put|List) {THESE} in alphabetical order|Sort {THESE} alphabetically)"),
    Task("Write these words in capital letters", lambda words: " ".join(words).upper(),
         rf"(?:Write|Put) {THESE} in capital letters"),
    Task("Join these words with vertical bars", "|".join, rf"Join {THESE} with vertical bars"),
    Task("Write exactly the last word of", lambda words: words[-1], r"Write (?:exactly |only )?the last word of"),
    Task("Write these words as a JSON list", json.dumps, rf"(?:Write|Give|Put) {THESE} as a JSON list"),
)  # fmt: skip
FIRST = r"Write (?:exactly |only )?the first (\d+|two|three|four) words of"
LEAD = "|".join([*(task.pattern for task in TASKS), FIRST])
LEADS = re.compile(rf"(?P<lead>{LEAD}): ?(?P<words>[^\n]+)", re.IGNORECASE)


def first(count: int) -> Task:
    """The first words."""
    return Task(f"Write exactly the first {count} words of", lambda words: " ".join(words[:count]), "")


@rule("word_list")
def word_list(instruction: str) -> Iterator[Constraint]:
    """What is done with words that the prompt lists: an order, a separator, capitals, a JSON list, a selection."""
    for found in LEADS.finditer(instruction):
        words = re.split(r"[,;]?\s+", found["words"].strip().rstrip("."))
        asked = _task(found["lead"])
        if asked is not None and len(words) > 1:
            yield _constraint(asked, found["lead"], found.start("lead"), words)


def _task(lead: str) -> Task | None:
    if counted := re.fullmatch(FIRST, lead, re.IGNORECASE):
        return first(number_of(counted[1]))
    return next((task for task in TASKS if re.fullmatch(task.pattern, lead, re.IGNORECASE)), None)


def _constraint(asked: Task, lead: str, start: int, words: list[str]) -> Constraint:
    right = asked.write(words)

    def others(response: str) -> Iterator[Other]:
        for task in (*TASKS, *(first(count) for count in range(2, len(words)))):
            text = task.write(words)
            if text != right:
                yield Other(task.asked, text.__eq__, text)

    return Constraint("word_list", start, start + len(lead), right.__eq__, others)
