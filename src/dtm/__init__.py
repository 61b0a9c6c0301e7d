"""dtm: instruction tuning as disperse, train, merge - measured against every honest alternative.

The names below are loaded when they are first used, so that `import dtm` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "run": "dtm.pipeline",
    "merge": "dtm.merge",
    "DtmError": "dtm.foundations.errors",
    "Examples": "dtm.foundations.types",
    "Model": "dtm.foundations.types",
    "Store": "dtm.foundations.store",
}
__all__ = ["DtmError", "Examples", "Model", "Store", "__version__", "merge", "run"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'dtm' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
