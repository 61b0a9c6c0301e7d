"""What scorers that ask a language model share: one request a row, about its instruction and its response."""

from __future__ import annotations

from pydantic import BaseModel

from dtm.foundations.llm import Request
from dtm.foundations.signals.text import texts
from dtm.foundations.types import Examples


def requests_of(examples_N: Examples, prompt: str, schema: type[BaseModel], task: str) -> list[Request]:
    """One a row, in order; `prompt` has places for {instruction} and {response}, and rules answer the `task`."""
    sides = zip(texts(examples_N, "instruction"), texts(examples_N, "response"), strict=True)
    return [
        Request(
            [{"role": "user", "content": prompt.format(instruction=instruction, response=response)}],
            schema=schema, max_tokens=64, task=task,
            inputs={"instruction": instruction, "response": response},
        )
        for instruction, response in sides
    ]  # fmt: skip
