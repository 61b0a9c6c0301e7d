"""What a study shows and what it does not, by rules from its numbers."""

from __future__ import annotations

from typing import Any


def statement(results: dict[str, Any]) -> list[str]:
    return []
