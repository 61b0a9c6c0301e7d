"""The models of a run, each with its part in it: what is evaluated, and what results.json names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dtm.foundations.types import Model
from dtm.pipeline.checks import Checked

Part = tuple[Model, str]  # a model and its role: base, baseline, submodel, checkpoint or merged
KEYS = {"submodel": "submodels", "baseline": "baselines", "checkpoint": "checkpoints"}


@dataclass
class Made:
    """What a recipe and its baselines made; `final` is the recipe's result, None where the run stopped early."""

    base: Model
    final: Model | None = None
    baselines: list[Model] = field(default_factory=list)
    submodels: list[Model] = field(default_factory=list)

    def wanted(self, checked: Checked) -> list[Model]:
        """Those that meet the benchmarks: what `evaluate.models` names, and always the recipe's result."""
        return [model for model, role in self.parts() if model is self.final or _named(role, checked)]

    def finished(self, checked: Checked) -> list[Model]:
        """Those of them that a reader could want to use, a checkpoint among them: no sub-models."""
        parts = {model.name for model, role in self.parts() if role == "submodel"}
        return [model for model in self.wanted(checked) if model.name not in parts]

    def shown(self, checked: Checked) -> list[Part]:
        """All models in the order of tables; checkpoints only if they were evaluated."""
        return [part for part in self.parts() if part[1] != "checkpoint" or _named("checkpoint", checked)]

    def parts(self) -> Iterator[Part]:
        """Every model once, in the order of tables."""
        seen: set[str] = set()
        for model, role in self._parts():
            if model.name not in seen:
                seen.add(model.name)
                yield model, role

    def _parts(self) -> Iterator[Part]:
        yield self.base, "base"
        yield from ((model, "baseline") for model in self.baselines)
        yield from ((model, "submodel") for model in self.submodels)
        if self.final is not None:
            yield self.final, "merged" if "merge" in self.final.facts else "baseline"
        for model in (*self.baselines, *([self.final] if self.final else [])):
            yield from ((checkpoint, "checkpoint") for checkpoint in model.checkpoints)


def _named(role: str, checked: Checked) -> bool:
    return KEYS.get(role, role) in checked.config.evaluate.models


def described(model: Model, role: str) -> dict[str, Any]:
    """The model's row in results.json."""
    row: dict[str, Any] = {
        "name": model.name,
        "role": role,
        "tokens": model.tokens,
        "steps": model.steps,
        "digest": model.digest,
    }
    if model.parts:
        row["parts"] = len(model.parts)
    return {**row, "share": model.facts["share"]} if role == "checkpoint" else row
