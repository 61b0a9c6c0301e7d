"""What there is: methods by kind, and the environment they run in."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from dtm.foundations.registry import KINDS, registry
from dtm.foundations.settings import describe

PLACES = {"recipe": "dtm.recipes", "disperse": "dtm.disperse", "merge": "dtm.merge",
          "embedder": "dtm.foundations.signals", "task": "dtm.evaluate.tasks",
          "instruction": "dtm.foundations.instructions", "answer": "dtm.foundations.answers",
          "pair": "dtm.train.pairs", "augment": "dtm.augment", "constraint": "dtm.augment.rules",
          "rules": "dtm.foundations.llm", "scorer": "dtm.foundations.scorers",
          "regularise": "dtm.train.regularise", "curate": "dtm.curate"}  # fmt: skip


def catalogue(kind: str | None) -> list[dict[str, Any]]:
    """All methods of a kind, or of all kinds, as plain values."""
    for name in [kind] if kind in PLACES else PLACES.values():
        import_module(PLACES.get(str(name), str(name)))
    kinds = [kind] if kind else [one for one in KINDS if len(registry(one))]
    return [
        {"kind": one, "name": method.name, "title": method.title, "paper": method.paper,
         "needs": list(method.needs), "settings": {name: _setting(p) for name, p in method.settings.items()}}
        for one in kinds for method in registry(one).values()
    ]  # fmt: skip


def show(found: list[dict[str, Any]]) -> str:
    """A listing for a terminal."""
    lines, kind = [], None
    for method in found:
        if method["kind"] != kind:
            kind = method["kind"]
            lines += ["", kind.upper()]
        lines.append(
            f"  {method['name']:<20} {method['title']}"
            + (f"  [{method['paper']}]" if method["paper"] else "")
        )
        lines += [f"      {name}: {text}" for name, text in method["settings"].items()]
    return "\n".join(lines).strip()


def environment() -> dict[str, Any]:
    """Versions, machine, GPUs."""
    import platform

    import psutil
    import torch

    from dtm.foundations.store import versions
    from dtm.merge.kernels import kernels

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "merge_kernels": kernels().__name__.rpartition(".")[2], "versions": versions(),
        "python": platform.python_version(), "platform": platform.platform(),
        "cores": psutil.cpu_count(), "memory_gb": round(psutil.virtual_memory().total / 1e9, 1), "gpus": gpus,
    }  # fmt: skip


def _setting(parameter: inspect.Parameter) -> str:
    kind = describe(parameter.annotation)
    return (
        f"{kind}, needed"
        if parameter.default is inspect.Parameter.empty
        else f"{kind}, default {parameter.default!r}"
    )
