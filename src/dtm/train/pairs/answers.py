"""What a pair rule sees: a question's answers, which of them are right, and how alike two of them are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Answer:
    """A response to a question: its text, its tokens, and whether its final answer is the gold one."""

    text: str
    ids: tuple[int, ...]
    right: bool
    gold: bool = False  # the row's own


@dataclass(frozen=True)
class Question:
    """The row's own answer, the sampled ones in the order of the tries, and those without a chain of thought."""

    gold: Answer
    paths: tuple[Answer, ...]
    direct: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Paired:
    """Pairs (chosen, rejected); or the reason why there is none. `near` counts near-duplicates that were dropped."""

    pairs: tuple[tuple[Answer, Answer], ...] = ()
    reason: str = ""
    near: int = 0


def likeness(one: str, other: str) -> float:
    """Jaccard similarity of their words, numbers and signs, in any case; two empty texts are alike."""
    a, b = set(TOKEN.findall(one.lower())), set(TOKEN.findall(other.lower()))
    return len(a & b) / len(a | b) if a | b else 1.0


def distinct(answers: Iterable[Answer], near: float) -> list[Answer]:
    """The answers in their order, without those that are as alike as `near` to one before."""
    kept: list[Answer] = []
    for answer in answers:
        if all(likeness(answer.text, other.text) < near and answer.text != other.text for other in kept):
            kept.append(answer)
    return kept


def least_alike(
    chosen: Sequence[Answer], rejected: Sequence[Answer], keep: int
) -> tuple[tuple[Answer, Answer], ...]:
    """The `keep` pairs that are least alike; of equals those whose answers come first."""
    every = [(one, other) for one in chosen for other in rejected]
    return tuple(sorted(every, key=lambda pair: likeness(pair[0].text, pair[1].text))[:keep])
