"""Makes the jobs of a plan: for each tensor its sources, checked, and the method that is to merge them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dtm.foundations.errors import DtmError, ModelError, several
from dtm.merge.adapter import Adapter
from dtm.merge.checkpoint import Stored
from dtm.merge.inputs import Inputs
from dtm.merge.jobs import APPLY, KEEP, Job, MergedFactors
from dtm.merge.matching import Wanted, check_tensor, source_of
from dtm.merge.method import Treatment, merger
from dtm.merge.precision import MERGED
from dtm.merge.request import Slice
from dtm.merge.scalars import per_model, settings_at
from dtm.merge.sources import Remap, Source
from dtm.merge.tokenizers import Vocabulary, is_vocabulary


@dataclass
class Maker:
    """Makes the jobs of a plan."""

    inputs: Inputs
    adapters: list[Adapter | None]
    treatment: Treatment
    route: Treatment | None
    weights: list[Any]
    dtype: str | None
    statistics: list[dict[str, Stored]]
    depth: dict[str, float]
    slices: Sequence[Slice] | None = None
    slice_treatments: Sequence[Treatment] = ()
    vocabulary: Vocabulary | None = None
    fallbacks: dict[str, list[str]] = field(default_factory=dict)

    def jobs(self, wanted: Sequence[Wanted]) -> list[Job]:
        jobs, errors = [], []
        for one in wanted:
            found, wrong = self._job(one)
            errors += wrong
            if found is not None:
                jobs.append(found)
        if errors:
            raise several(errors[:20])
        return jobs

    def _job(self, one: Wanted) -> tuple[Job | None, list[DtmError]]:
        base = self.inputs.base.tensors[one.base] if self.inputs.base and one.base else None
        sources = [
            source_of(self.inputs.models[k], self.adapters[k], name, one.name) for k, name in one.sources
        ]
        folders = [str(self.inputs.models[k].folder) for k, _ in one.sources]
        reference = base or next(source.stored for source in sources if source.stored)
        shape, remap = reference.shape, None
        if self.vocabulary is not None and is_vocabulary(one.name, self.inputs.reference):
            shape, remap = (self.vocabulary.count, *shape[1:]), self._remap(one, sources)
        if errors := check_tensor(one.name, reference, base, sources, folders):
            return None, errors
        opaque = reference.dtype not in MERGED
        dtype = reference.dtype if opaque else self.dtype or reference.dtype
        job = Job(
            one.name,
            shape,
            dtype,
            KEEP,
            base,
            sources,
            models=tuple(k for k, _ in one.sources),
            depth=self.depth[one.name],
            opaque=opaque,
            remap=remap,
        )
        try:
            if not opaque:
                self._treat(job, one)
        except DtmError as error:
            return None, [error]
        return job, []

    def _remap(self, one: Wanted, sources: Sequence[Source]) -> Remap | None:
        """Give each source, and the base, the rows of its own vocabulary."""
        assert self.vocabulary is not None
        for (k, _), source in zip(one.sources, sources, strict=True):
            if source.factors or (source.stored is not None and self.adapters[k] is not None):
                raise ModelError(
                    f"adapts {one.name!r}, and the models have different tokenizers",
                    where=self.inputs.models[k].folder,
                    mend="Merge that adapter into its base first",
                )
            rows = self.vocabulary.rows_K[k]
            source.remap = None if rows is None else Remap(rows)
        return None if self.vocabulary.base_rows is None else Remap(self.vocabulary.base_rows)

    def _treat(self, job: Job, one: Wanted) -> None:
        """Choose how the tensor is merged: kept, by factors, by the method, or by linear where it cannot."""
        treatment, weights = self.treatment, self.weights
        if self.slices is not None:
            treatment, weights = self.slice_treatments[one.slice], self.slices[one.slice].weights
        models = {"models": weights}
        job.weights_K = per_model(models, len(job.sources), job.name, job.depth, where="weights")
        changed = any(source.changes for source in job.sources)
        if not changed and (treatment.on_updates or treatment.idempotent or self.route):
            return
        if self.route is not None and all(_is_plain_lora(source) for source in job.sources):
            return self._merge_factors(job, self.route)
        job.treatment = self._method_for(job, treatment)
        inner = job.treatment.inner
        job.settings = settings_at(job.treatment, len(job.sources), job.name, job.depth)
        job.inner_settings = settings_at(inner, len(job.sources), job.name, job.depth) if inner else {}
        if job.treatment.needs:
            job.statistics = [statistics[job.name] for statistics in self.statistics]

    def _merge_factors(self, job: Job, route: Treatment) -> None:
        parts = [source.factors for source in job.sources]
        if route.declares("same_rank"):
            kinds = {(part.rank, part.scale) if part else (0, 0.0) for part in parts}
            if len(kinds) > 1:
                raise ModelError(
                    f"the adapters' factors of {job.name!r} cannot be averaged: (rank, scale) are {sorted(kinds)}",
                    mend="Use `space: weight`, which takes any ranks",
                )
        settings = settings_at(route, len(parts), job.name, job.depth)
        job.sources = [
            MergedFactors(treatment=route, parts=parts, weights_K=job.weights_K, settings=settings)
        ]
        job.treatment, job.weights_K = APPLY, np.ones(1)

    def _method_for(self, job: Job, treatment: Treatment) -> Treatment:
        """The method, or linear for a tensor that it cannot treat."""
        linear = Treatment(merger.bind("linear"))
        if self.route is not None:  # a bias or a saved module among adapters
            return treatment if treatment.form == "blocks" else linear
        treatable = not treatment.matrices or (len(job.shape) == 2 and min(job.shape) > 1)
        if treatable and treatment.needs:
            treatable = all(job.name in statistics for statistics in self.statistics)
        if not treatable:
            self.fallbacks.setdefault("linear", []).append(job.name)
        return treatment if treatable else linear


def _is_plain_lora(source: Source) -> bool:
    return source.stored is None and source.bias is None and not (source.factors and source.factors.magnitude)
