"""The plan of a merge: everything checked, everything known, before any work.

`plan_merge` reads headers only. It raises all that is wrong at once, and what it returns says which tensors are
read and written, how often, by which method, and where every byte of the output will stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dtm.foundations.errors import ConfigError, DtmError, ModelError, several
from dtm.foundations.registry import Bound
from dtm.merge.checkpoint import Stored, open_file
from dtm.merge.inputs import Inputs, Where, open_inputs
from dtm.merge.jobs import KEEP, Job, MergedFactors
from dtm.merge.making import Maker
from dtm.merge.matching import check_names, resolve_adapter, wanted_tensors
from dtm.merge.method import Treatment, merger
from dtm.merge.precision import parse_dtype
from dtm.merge.request import Slice
from dtm.merge.scalars import depths
from dtm.merge.shards import Shard, adapter_shard, shards_like
from dtm.merge.slices import config_changes, slice_depths, sliced_tensors
from dtm.merge.tokenizers import Vocabulary, plan_vocabulary

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
    vocabulary: Vocabulary | None = None  # where the sub-models' tokenizers differ

    @property
    def passes(self) -> int:
        """How often the inputs are read."""
        return 1 + max((len(job.treatment.passes) for job in self.jobs), default=0)

    @property
    def spans_model(self) -> bool:
        """Whether a pass gathers over the whole model before its first value is written."""
        return any(job.treatment.passes and job.treatment.scope == "model" for job in self.jobs)

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
    tokenizer: str | int | None = None,
) -> Plan:
    """Check a merge and lay it out.

    `tokenizer` says whose tokens the output has where they differ: "base", "union", or the number of a model.
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
    vocabulary = plan_vocabulary(inputs, tokenizer) if slices is None else None
    if vocabulary is not None:
        changes["vocab_size"] = vocabulary.count
    names = [one.name for one in wanted]
    adapters = [resolve_adapter(model.adapter, names) if model.adapter else None for model in inputs.models]
    maker = Maker(
        inputs=inputs, adapters=adapters, treatment=treatment, route=route, weights=list(weights),
        dtype=parse_dtype(dtype), statistics=_open_statistics(statistics, treatment, len(models)), depth=depth,
        slices=slices, slice_treatments=[treatment_of(one.method) for one in slices or ()], vocabulary=vocabulary,
    )  # fmt: skip
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
        inputs,
        treatment,
        jobs,
        shards,
        export,
        maker.dtype,
        untie,
        maker.fallbacks,
        list(weights),
        changes,
        vocabulary,
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
        raise ConfigError(f"method {name!r} does not merge to an adapter: what it makes has full rank", where="export",
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
