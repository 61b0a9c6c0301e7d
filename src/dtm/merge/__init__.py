"""Merging: sub-models or adapters into one model, exactly, block by block, at the speed of the disk.

Methods are registered when this package is imported; the engine is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dtm.merge import methods  # noqa: F401 - registers them

_PLACES = {
    "merge": "dtm.merge.command",
    "merge_models": "dtm.merge.merging",
    "plan_merge": "dtm.merge.planning",
    "Plan": "dtm.merge.planning",
}
__all__ = ["Plan", "merge", "merge_models", "plan_merge"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'dtm.merge' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
