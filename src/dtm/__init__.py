"""dtm: instruction tuning as disperse, train, merge - measured against every honest alternative.

    dtm.run("run.yaml")                          # what `dtm run` does; returns the content of results.json
    dtm.extend("runs/first", "more.jsonl")       # the same with more data or less; only what changed trains
    dtm.attribute("runs/first")                  # which portion costs or helps which benchmark
    dtm.agreement(["runs/a", "runs/b"])          # how far their splits agree
    dtm.study("study.yaml")                      # what `dtm study` does; returns the content of study.json
    dtm.merge("merge.yaml", "out")               # what `dtm merge` does; `dtm.merge` is the merging package too

The names below are loaded when they are first used, so that `import dtm` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "run": "dtm.pipeline",
    "attribute": "dtm.pipeline.attribute",
    "agreement": "dtm.pipeline.agreeing",
    "extend": "dtm.pipeline.extending",
    "DtmError": "dtm.foundations.errors",
    "Examples": "dtm.foundations.types",
    "Model": "dtm.foundations.types",
    "Store": "dtm.foundations.store",
}
# A function beside a package of its name would be hidden by it or hide it, so the package itself is callable.
_PACKAGES = ("merge", "study")
__all__ = [
    "DtmError",
    "Examples",
    "Model",
    "Store",
    "__version__",
    "agreement",
    "attribute",
    "extend",
    "merge",
    "run",
    "study",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"dtm.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'dtm' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
