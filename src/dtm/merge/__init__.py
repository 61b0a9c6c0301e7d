"""Merging: sub-models or adapters into one model, exactly, block by block, at the speed of the disk.

    dtm.merge("merge.yaml", "out")          # what `dtm merge` does: the package is callable, see `merge`
    dtm.merge.merge_models(base=..., ...)   # from Python objects

Methods are registered when this package is imported; the engine is loaded when it is first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
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


class _Callable(ModuleType):
    """A package that is called as its main function: a package and a function of one name would hide one another."""

    def __call__(self, source: Any, out: Any, **options: Any) -> dict[str, Any]:
        """As `merge`: carry out a merge file, or its content as a dict, into the folder `out`."""
        return self.merge(source, out, **options)


sys.modules[__name__].__class__ = _Callable
