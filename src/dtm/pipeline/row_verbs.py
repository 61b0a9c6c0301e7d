"""The verbs of a run that make rows out of rows, and join what was trained in stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dtm.foundations.types import Model
from dtm.pipeline import curating, grading, picking
from dtm.pipeline.grading import Scores
from dtm.pipeline.picking import Unit
from dtm.pipeline.rows import Rows
from dtm.sections import Curate

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run


class RowVerbs:
    """Part of `verbs.Run`."""

    def curate(self: Run, section: Curate, examples: Rows) -> Rows:  # type: ignore[misc]
        """The rows that a section such as `config.curate` keeps; `load` has curated by that one already."""
        return curating.curate(self, section, examples)

    def of_sources(self: Run, examples: Rows, sources: Sequence[str], *, name: str) -> Rows:  # type: ignore[misc]
        """The rows of those sources."""
        return picking.of_sources(self, examples, sources, name)

    def sources_of(self: Run) -> list[str]:  # type: ignore[misc]
        """The names of the run's sources, each once, in the run file's order."""
        return list(dict.fromkeys(source.source for source in self.checked.sources))

    def share(  # type: ignore[misc]
        self: Run, examples: Rows, k: float, *, unit: Unit = "rows", least: int = 1, name: str = "share"
    ) -> Rows | None:
        """A seeded share of each source's rows or tokens, at least so many rows of each; None where k is 0."""
        return picking.share(self, examples, k, unit, least, name)

    def mix(self: Run, *parts: Rows | None, name: str) -> Rows:  # type: ignore[misc]
        """All parts together; what is trained on them has the first part's seeds."""
        return picking.mix(self, parts, name)

    def in_order(self: Run, stages: Sequence[Rows], *, epochs: Any, name: str) -> Rows:  # type: ignore[misc]
        """The stages end to end, each shuffled for each of its epochs: for a training that reads rows in order."""
        return picking.in_order(self, stages, epochs, name)

    def score(self: Run, scorer: str | Mapping[str, Any], examples: Rows) -> Scores:  # type: ignore[misc]
        """How hard each row is."""
        return grading.score(self, scorer, examples)

    def stages(self: Run, examples: Rows, scores: Scores, **how: Any) -> list[Rows]:  # type: ignore[misc]
        """The rows in bins by their scores, the easiest first: `cuts` or `quantiles`, and `at_random`."""
        return grading.stages(self, examples, scores, **how)

    def staged(self: Run, models: Sequence[Model], *, name: str) -> Model:  # type: ignore[misc]
        """What a training in stages ends in, a whole model; what each stage left are its checkpoints."""
        last = self.materialise(models[-1])
        points = [
            replace(one, facts={**one.facts, "share": one.steps / max(1, last.steps)}) for one in models
        ]
        merges = [one.facts["merge"] for one in models if "merge" in one.facts]
        facts = {**last.facts, "merge": merges[-1]} if merges else last.facts
        return replace(last, name=name, checkpoints=tuple(points), facts=facts)
