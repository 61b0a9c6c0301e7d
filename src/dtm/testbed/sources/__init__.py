"""The mixture's sources, one a file: a writer, and the settings that it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from dtm.testbed.sources.chatty import Chatty, write_chatty
from dtm.testbed.sources.drafting import Draft, Ground, Habits
from dtm.testbed.sources.formatting import Formatting, write_formatting
from dtm.testbed.sources.forum import Forum, write_forum
from dtm.testbed.sources.instruct import Instruct, write_instruct
from dtm.testbed.sources.quiz import Quiz, write_quiz
from dtm.testbed.sources.reading import Reading, write_reading
from dtm.testbed.sources.reasoning import Reasoning, write_reasoning
from dtm.testbed.sources.terse import Terse, write_terse


@dataclass(frozen=True)
class Source:
    """A writer with its default settings, its default share of the rows and the name of its format."""

    write: Callable[[Ground, Random, Habits, Any], Draft]
    settings: Any
    share: float
    format: str


SOURCES: dict[str, Source] = {
    "terse": Source(write_terse, Terse(), 0.15, "question_answer"),
    "chatty": Source(write_chatty, Chatty(), 0.15, "sharegpt"),
    "instruct": Source(write_instruct, Instruct(), 0.15, "alpaca"),
    "reading": Source(write_reading, Reading(), 0.12, "dolly"),
    "reasoning": Source(write_reasoning, Reasoning(), 0.15, "prompt_completion"),
    "formatting": Source(write_formatting, Formatting(), 0.10, "messages"),
    "quiz": Source(write_quiz, Quiz(), 0.08, "prompt_completion"),
    "forum": Source(write_forum, Forum(), 0.10, "messages"),
}
