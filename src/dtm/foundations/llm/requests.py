"""What is asked and what comes back, whoever answers; and the key under which an answer is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dtm.foundations.files import canonical, text_digest
from dtm.foundations.llm.structured import Schema, json_schema

FORMAT = 1
CHARACTERS_A_TOKEN = 3.5  # of English under the vocabularies in use, rather too few; for estimates alone
TOKENS_A_MESSAGE = 6  # what a chat template puts around one


@dataclass(frozen=True)
class Request:
    """One question. `messages` are what an LLM reads; `task` and `inputs` say the same to a rule-based backend.

    `schema`, a pydantic model or a JSON schema, makes the answer a checked value. What is None is as the section
    `llm:` says. Two requests that differ in `seed` alone are two samples.
    """

    messages: Sequence[Mapping[str, str]]
    schema: Schema | None = None
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    task: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """All of it that an answer depends on, as plain values."""
        return {
            "messages": [dict(message) for message in self.messages],
            "schema": None if self.schema is None else json_schema(self.schema),
            "seed": self.seed, "temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens,
            "stop": list(self.stop), "task": self.task, "inputs": dict(self.inputs),
        }  # fmt: skip

    def key(self, backend: Mapping[str, Any]) -> str:
        """sha256 of the request and of what the answering backend says of itself."""
        return text_digest(canonical({"format": FORMAT, "backend": dict(backend), "request": self.fields()}))

    def prompt_tokens(self) -> int:
        """About how many tokens the prompt has, by its characters."""
        characters = sum(len(message["content"]) for message in self.messages)
        return round(characters / CHARACTERS_A_TOKEN) + TOKENS_A_MESSAGE * len(self.messages)


@dataclass(frozen=True)
class Completion:
    """What a backend said to one request: the text, why it ended there (`stop`, `length`), and tokens used."""

    text: str
    finish: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Failed:
    """A request that a backend could not answer, while others may be; `transport`: by no fault of the request."""

    reason: str
    transport: bool = False


@dataclass(frozen=True)
class Reply:
    """The answer to a request, or the `failure` for which it was kept aside.

    `value` is what the text says under the request's schema: an instance of the pydantic model, or plain values.
    Tokens are of all tries; `cached`: nothing was asked. `unheard`: it was no answer that failed, but the way to one,
    or the endpoint refused the request; such a reply is not cached. `transport`: by no fault of the request.
    """

    text: str
    value: Any = None
    failure: str | None = None
    finish: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    tries: int = 1
    cached: bool = False
    unheard: bool = False
    transport: bool = False

    @property
    def ok(self) -> bool:
        return self.failure is None
