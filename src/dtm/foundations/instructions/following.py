"""Whether a response follows an instruction: strictly as it stands, or loosely, without the talk around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dtm.foundations.registry import Bound, registry


def bind(name: str, settings: Mapping[str, Any]) -> Bound:
    """An instruction with its settings; those that are None count as not there, as in IFEval's file.

    Raises MethodError or ConfigError for what no instruction has.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    return registry("instruction").bind(name, given, where=name)


def followed(instruction: Bound, response: str) -> bool:
    """Strictly: the response, which is not blank, passes."""
    return bool(response.strip()) and instruction(response)


def followed_loosely(instruction: Bound, response: str) -> bool:
    """Loosely: it passes as it stands, or without its first line, its last, both, or its asterisks (IFEval, sec. 2)."""
    return any(followed(instruction, variant) for variant in _variants(response))


def _variants(response: str) -> Iterator[str]:
    lines = response.split("\n")
    for kept in (lines, lines[1:], lines[:-1], lines[1:-1]):
        text = "\n".join(kept)
        for variant in (text, text.strip()) if kept is not lines else (text,):
            yield variant
            yield variant.replace("*", "")
