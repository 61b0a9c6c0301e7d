"""Backends that are no LLM: functions that answer a request's `task` from its `inputs`, by rule.

    @registry("rules").register("mine")
    def mine(request, *, strictness: int = 1):
        if request.task == "difficulty":
            return {"instruction": 1.0, "response": 2.5}
        raise CannotAnswer(f"there is no rule for {request.task!r}")

They serve the same callers as an LLM, cost nothing, and their answers can be checked. What one returns is text or a
plain value, which then meets the request's schema as an LLM's answer does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtm.foundations.files import canonical
from dtm.foundations.llm.requests import Completion, Failed, Request
from dtm.foundations.registry import Bound, registry


class CannotAnswer(Exception):
    """A rule's word for a request that it has no answer to: the request is kept aside with this reason."""


class Rules:
    """A registered function as a backend."""

    batch, width, held, free = 64, 1, True, True

    def __init__(self, bound: Bound) -> None:
        self.bound, self.name = bound, f"the rules {bound.method.name!r}"

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "rules", **self.bound.key}

    def complete(self, requests: Sequence[Request]) -> list[Completion | Failed]:
        """Each answered by itself."""
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Completion | Failed:
        try:
            answer = self.bound(request)
        except CannotAnswer as reason:
            return Failed(str(reason))
        return Completion(answer if isinstance(answer, str) else canonical(answer))

    def close(self) -> None:
        """Nothing is held."""


def bind(name: str, settings: dict[str, Any], *, where: Any = None) -> Bound:
    """The rules of that name with checked settings."""
    return registry("rules").bind(name, settings, where=where)
