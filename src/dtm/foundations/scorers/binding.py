"""A scorer as users name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dtm.foundations.registry import Bound, registry


def bind_scorer(said: str | Mapping[str, Any], *, where: Any = None) -> Bound:
    """The scorer of `NAME` or `{name: NAME, setting: value}`, with checked settings."""
    own = {"name": said} if isinstance(said, str) else dict(said)
    name = own.pop("name", "")
    return registry("scorer").bind(str(name), own, where=where)
