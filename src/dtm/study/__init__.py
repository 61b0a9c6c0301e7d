"""Studies: arms x seeds x grid over one store, to one table with statistics.

dtm.study("study.yaml")      # what `dtm study` does: the package is callable, see `flow.study`
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_PLACES = {"study": "dtm.study.flow", "read": "dtm.study.file", "render": "dtm.study.page"}
__all__ = ["read", "render", "study"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'dtm.study' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


class _Callable(ModuleType):
    """A package that is called as its main function: a package and a function of one name would hide one another."""

    def __call__(self, source: Any, settings: Any = (), **options: Any) -> dict[str, Any]:
        """As `study`: run every arm of a study file, or of its content as a dict, under every seed."""
        return self.study(source, settings, **options)


sys.modules[__name__].__class__ = _Callable
