"""A row's `meta`: what its data said besides the messages."""

from __future__ import annotations

import json
from typing import Any


def read_meta(text: str | None) -> Any:
    """The value of a row's column `meta`, which is JSON or empty."""
    return json.loads(text) if text else {}


def look(meta: Any, name: str) -> Any:
    """The value of a field, where `a.b` is the field of that name, or else b of the field a; None without one."""
    if isinstance(meta, dict) and name in meta:
        return meta[name]
    for part in name.split("."):
        if not isinstance(meta, dict) or part not in meta:
            return None
        meta = meta[part]
    return meta
