"""The plan of a merge: everything checked, everything known, before any work.

`plan_merge` reads headers only. It raises all that is wrong at once, and what it returns says which tensors are
read and written, how often, by which method, and where every byte of the output will stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dtm.foundations.errors import ConfigError, DtmError, ModelError, several
from dtm.foundations.registry import Bound
from dtm.merge.adapter import Adapter
from dtm.merge.checkpoint import Stored, open_file
from dtm.merge.inputs import Inputs, Where, open_inputs
from dtm.merge.jobs import APPLY, KEEP, Job, MergedFactors
from dtm.merge.matching import Wanted, check_names, check_tensor, resolve_adapter, source_of, wanted_tensors
from dtm.merge.method import Treatment, merger
from dtm.merge.precision import MERGED, parse_dtype
from dtm.merge.request import Slice
from dtm.merge.scalars import depths, per_model, settings_at
from dtm.merge.shards import Shard, adapter_shard, shards_like
from dtm.merge.slices import config_changes, slice_depths, sliced_tensors
from dtm.merge.sources import Source

Space = Literal["weight", "adapter"]
Export = Literal["model", "adapter"]


@dataclass
class Plan:
    """What a merge will do."""

    inputs: Inputs
    treatment: Treatment
    jobs: list[Job]
    shards: list[Shard]
    export: Export
    dtype: str | None
    untie: bool = False
    fallbacks: dict[str, list[str]] = field(default_factory=dict)  # method that took over -> tensors
    weights: list[Any] = field(default_factory=list)  # as they were given, one a sub-model
    config_changes: dict[str, Any] = field(default_factory=dict)

    @property
    def passes(self) -> int:
        """How often the inputs are read."""
        return 1 + max((len(job.treatment.passes) for job in self.jobs), default=0)

    @property
    def bytes_in(self) -> int:
        """Bytes of tensors that are read, all passes together."""
        return sum(
            one.slot.nbytes * (1 + len(job.treatment.passes)) for job in self.jobs for one in job.inputs
        )

    @property
    def bytes_out(self) -> int:
        return sum(shard.size for shard in self.shards)

    def facts(self) -> dict[str, Any]:
        """The plan for people and machines."""
        return {
            "method": self.treatment.name,
            "settings": self.treatment.bound.settings,
            "models": [model.name for model in self.inputs.models],
            "base": self.inputs.base.folder.name if self.inputs.base else None,
            "tensors": len(self.jobs),
            "parameters": sum(job.count for job in self.jobs),
            "unchanged": sum(job.treatment is KEEP for job in self.jobs),
            "passes": self.passes,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "files": [shard.name for shard in self.shards],
            "fallbacks": self.fallbacks,
            "untied": self.untie,
        }


def plan_merge(
    *,
    base: Path | None,
    models: Sequence[Where],
    method: Bound,
    weights: Sequence[Any],
    space: Space = "weight",
    export: Export = "model",
    dtype: str | None = None,
    statistics: Sequence[Path] | None = None,
    slices: Sequence[Slice] | None = None,
    tokenizer: str | int = "base",
) -> Plan:
    """Check a merge and lay it out.

    `weights` holds one Scalar (see `scalars`) a model; `statistics` one safetensors file a model, for methods that
    need them. Raises DtmError with everything that is wrong: names, shapes, dtypes, files, settings.
    """
    inputs = open_inputs(base, models)
    treatment = treatment_of(method)
    route = _route(treatment, inputs, space, export)
    changes: dict[str, Any] = {}
    if slices is None:
        _check_request(treatment, inputs, weights)
        wanted, untie = wanted_tensors(inputs)
        check_names(inputs, wanted)
        depth = depths(one.name for one in wanted)
    else:
        wanted, untie = sliced_tensors(inputs, slices), False
        depth, changes = slice_depths(slices, wanted), config_changes(inputs.reference.config, slices)
    names = [one.name for one in wanted]
    adapters = [resolve_adapter(model.adapter, names) if model.adapter else None for model in inputs.models]
    maker = _Maker(inputs, adapters, treatment, route, list(weights), parse_dtype(dtype),
                   _open_statistics(statistics, treatment, len(models)), depth, slices)  # fmt: skip
    jobs = maker.jobs(wanted)
    if export == "adapter":
        jobs = [job for job in jobs if job.treatment is not KEEP and not job.opaque]
        _check_adapter_export(jobs)
        shards = [adapter_shard(jobs, maker.dtype or "F32")]
    else:
        shards = shards_like(inputs.reference, jobs)
    order = {name: number for number, shard in enumerate(shards) for name in shard.jobs}
    jobs.sort(key=lambda job: (order[job.name], job.name))
    return Plan(
        inputs, treatment, jobs, shards, export, maker.dtype, untie, maker.fallbacks, list(weights), changes
    )


def treatment_of(bound: Bound) -> Treatment:
    """A bound method with what it wraps, if it is a modifier (its setting `of`)."""
    if bound.method.properties.get("form") != "modifier":
        return Treatment(bound)
    of = bound.settings["of"]
    name, settings = (
        (of, {}) if isinstance(of, str) else (of.get("name"), {k: v for k, v in of.items() if k != "name"})
    )
    inner = merger.bind(name, settings, where=f"{bound.method.name}.of")
    if inner.method.properties.get("form", "blocks") != "blocks":
        raise ConfigError(f"{bound.method.name!r} cannot wrap {name!r}", where=f"{bound.method.name}.of")
    return Treatment(bound, Treatment(inner))


def _route(treatment: Treatment, inputs: Inputs, space: Space, export: Export) -> Treatment | None:
    """The factor method by which adapters are merged, or None where weights are merged block by block."""
    name = treatment.name
    if treatment.form == "factors":
        route: Treatment | None = treatment
    elif name != "linear" and (space == "adapter" or export == "adapter"):
        raise ConfigError(f"method {name!r} does not merge to an adapter", where="export",
                          mend="Use `linear`, or a method of adapters such as lora_svd")  # fmt: skip
    elif name == "linear" and space == "adapter":
        route = Treatment(merger.bind("lora_average"))
    elif name == "linear" and (export == "adapter" or (inputs.all_adapters and treatment.idempotent)):
        route = Treatment(merger.bind("lora_cat", {"normalize": treatment.bound.settings["normalize"]}))
    else:
        route = None
    if route is not None and not inputs.all_adapters:
        raise ConfigError("only adapters merge in adapter space, and one of the models is not an adapter",
                          where="models")  # fmt: skip
    return route


def _check_request(treatment: Treatment, inputs: Inputs, weights: Sequence[Any]) -> None:
    errors: list[DtmError] = []
    count = len(inputs.models)
    if len(weights) != count:
        errors.append(ConfigError(f"{len(weights)} weights are given for {count} models", where="weights"))
    least, most = treatment.declares("models", (1, None))
    if count < least or (most and count > most):
        number = str(least) if least == most else f"at least {least}" if not most else f"{least} to {most}"
        errors.append(ConfigError(f"method {treatment.name!r} takes {number} models; here are {count}"))
    inner_base = treatment.inner is not None and treatment.inner.needs_base
    if (treatment.needs_base or inner_base) and inputs.base is None:
        errors.append(ConfigError(f"method {treatment.name!r} needs a base", mend="Give `base:`"))
    if errors:
        raise several(errors)


def _open_statistics(
    files: Sequence[Path] | None, treatment: Treatment, count: int
) -> list[dict[str, Stored]]:
    if treatment.needs is None:
        return []
    if files is None or len(files) != count:
        raise ConfigError(
            f"method {treatment.name!r} needs the statistic {treatment.needs!r} of each of {count} models",
            where="statistics", mend="Let the pipeline gather it, or give one safetensors file a model",
        )  # fmt: skip
    return [open_file(Path(file)) for file in files]


def _check_adapter_export(jobs: Sequence[Job]) -> None:
    if not jobs:
        raise ModelError("the adapters change nothing")
    if odd := [job.name for job in jobs if not isinstance(job.sources[0], MergedFactors)]:
        raise ModelError(
            f"{len(odd)} tensors are not plain LoRA factors, such as {odd[0]!r} (a bias, DoRA, or a saved module)",
            where="export", mend="Use `export: model`",
        )  # fmt: skip


@dataclass
class _Maker:
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
        if errors := check_tensor(one.name, reference, base, sources, folders):
            return None, errors
        opaque = reference.dtype not in MERGED
        dtype = reference.dtype if opaque else self.dtype or reference.dtype
        job = Job(
            one.name, reference.shape, dtype, KEEP, base, sources, depth=self.depth[one.name], opaque=opaque
        )
        try:
            if not opaque:
                self._treat(job, one)
        except DtmError as error:
            return None, [error]
        return job, []

    def _treat(self, job: Job, one: Wanted) -> None:
        """Choose how the tensor is merged: kept, by factors, by the method, or by linear where it cannot."""
        treatment, weights = self.treatment, self.weights
        if self.slices is not None:
            treatment, weights = treatment_of(self.slices[one.slice].method), self.slices[one.slice].weights
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
