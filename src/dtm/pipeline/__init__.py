"""A run from its file to its report: `flow` is the whole of it on one page, beside it stand its verbs.

The names below are loaded when they are first used: `dtm merge` needs none of what a run needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["STAGES", "run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dtm.pipeline' has no attribute {name!r}")
    return getattr(import_module("dtm.pipeline.flow"), name)
