"""What a merge needs beside the models: statistics of them, and weights, given, counted or searched for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.config import Merge, Search
from dtm.foundations.errors import DataError
from dtm.foundations.files import read_json
from dtm.foundations.registry import Bound
from dtm.foundations.seeds import derive, derive32
from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Model
from dtm.pipeline.rows import Rows
from dtm.pipeline.steps import Work

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

STATISTICS = {"fisher": "dtm.foundations.signals.fisher:fisher", "gram": "dtm.foundations.signals.gram:gram"}
FILE = "statistics.safetensors"
SEARCH = "dtm.pipeline.search:search"


@dataclass(frozen=True)
class Merging:
    """One merge: how, into what base, and of what."""

    section: Merge
    bound: Bound
    base: Model
    models: tuple[Model, ...]
    statistics: tuple[Artifact, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """The part of a step's key that says how is merged."""
        section = self.section
        return {**self.bound.key, "space": section.space, "export": section.export, "dtype": section.dtype}

    @property
    def inputs(self) -> dict[str, str]:
        """The part of a step's key that says what is merged."""
        return {
            "base": self.base.digest,
            **{f"model {number}": model.digest for number, model in enumerate(self.models)},
            **{f"statistic {number}": one.digest for number, one in enumerate(self.statistics)},
        }

    def device(self, of_run: str) -> str:
        """Where the merge computes: on the run's device if its method decomposes matrices, else on the CPU."""
        from dtm.merge.planning import treatment_of

        return of_run if treatment_of(self.bound).decomposes else "cpu"

    @property
    def statistics_files(self) -> list[Path]:
        return [one.folder / FILE for one in self.statistics]

    def without(self, k: int) -> Merging:
        """The same of all models but one."""
        rest = [number for number in range(len(self.models)) if number != k]
        statistics = tuple(self.statistics[number] for number in rest) if self.statistics else ()
        return replace(self, models=tuple(self.models[number] for number in rest), statistics=statistics)

    def job(self, run: Run) -> dict[str, Any]:
        """What `scoring.InMemory` needs to know, as plain JSON."""
        return {
            "base": str(self.base.folder), "models": [str(model.folder) for model in self.models],
            "method": self.bound.method.name, "settings": self.bound.settings, "space": self.section.space,
            "dtype": self.section.dtype, "statistics": [str(file) for file in self.statistics_files],
            "seed": derive(run.seed, "merge"), "threads": run.checked.threads,
            "device": self.device(run.checked.device),
        }  # fmt: skip


def needed(bound: Bound) -> str | None:
    """The statistic that a merge method needs, or that the method it wraps needs."""
    from dtm.merge.planning import treatment_of

    return treatment_of(bound).needs


def scale_free(bound: Bound) -> bool:
    """Whether only the shares of the weights matter: a mean of equal models is that model at any scale."""
    from dtm.merge.planning import treatment_of

    return treatment_of(bound).idempotent or bool(bound.settings.get("normalize"))


def gather(run: Run, merging: Merging, portions: Sequence[Rows]) -> Merging:
    """The merge with the statistic that its method needs, one a model, each on rows of the model's own portion."""
    need = needed(merging.bound)
    if need is None:
        return merging
    if len(portions) != len(merging.models):
        raise DataError(f"{merging.bound.method.name!r} reads rows of each model's own portion, and there are none",
                        where="merge.method", mend="Use a recipe that disperses, or another method")  # fmt: skip
    pairs = enumerate(zip(merging.models, portions, strict=True))
    works = [_statistic(run, merging, need, number, *pair) for number, pair in pairs]
    return replace(merging, statistics=tuple(run.steps.make_all(works)))


def _statistic(run: Run, merging: Merging, need: str, number: int, model: Model, rows: Rows) -> Work:
    config, checked, base = run.checked.config, run.checked, merging.base
    count, seed = merging.section.statistics.rows, derive32(run.seed, "statistics", number)
    options = {name: value for name, value in config.model.items() if name not in ("dtype", "quantization")}
    inputs = {"model": model.digest, "base": base.digest, "examples": rows.digest}
    step = Step(need, {"rows": count, "model": options}, inputs, seed, checked.numerics)

    def arguments(claim: Claim) -> dict[str, Any]:
        folders = {"model": str(base.folder), "adapter": str(model.folder)} if model.adapter_of else \
                  {"model": str(model.folder), "adapter": None}  # fmt: skip
        return {**folders, "examples": str(rows.file), "rows": count, "seed": seed, "options": options,
                "output": str(claim.output), "device": checked.device, "threads": checked.threads}  # fmt: skip

    rows_used = min(count, rows.count)
    return Work(
        f"{need} {model.name}", f"{rows_used} rows", step, STATISTICS[need], arguments, {"rows": rows_used}
    )


def weights_of(said: Any, portions: Sequence[Rows], models: int) -> list[float]:
    """The weights as said, one a model; the engine normalises where the method asks for it."""
    if isinstance(said, list):
        return [float(weight) for weight in said]
    if said == "uniform":
        return [1 / models] * models
    counts = [rows.count if said == "rows" else rows.trained_tokens for rows in portions]
    return [count / sum(counts) for count in counts]


def searched(run: Run, section: Search, merging: Merging) -> tuple[list[float], dict[str, Any]]:
    """The weights that a search found, and its card: {search, budget, score, uniform, path, ...}.

    In planning, where the search is still to be done, there are no weights yet.
    """
    tasks = _tasks(run, section)
    step = _search_step(run, section, merging)
    settings = step.settings
    seed = derive32(run.seed, "search")

    def arguments(claim: Claim) -> dict[str, Any]:
        return {
            "search": section.search, "budget": section.budget, "seed": seed, "scale_free": settings["scale_free"],
            "merge": merging.job(run), "scoring": scoring_job(run, merging, tasks, ["raw"], dev=not tasks),
            "output": str(claim.output), "scratch": str(claim.scratch),
        }  # fmt: skip

    what = f"{section.search}, {section.budget} candidates"
    artifact = run.steps.make_all([Work("search", what, step, SEARCH, arguments)])[0]
    if "weights" not in artifact.facts:
        return [], {}
    card = {"search": section.search, "budget": section.budget, "on": _on(run, section), **artifact.facts}
    return list(artifact.facts["weights"]), {**card, "path": read_json(artifact.folder / "path.json")}


def _search_step(run: Run, section: Search, merging: Merging) -> Step:
    checked, tasks = run.checked, _tasks(run, section)
    settings = {
        **merging.settings, "search": section.search, "budget": section.budget,
        "scale_free": scale_free(merging.bound), "tasks": [task.fingerprint for task in tasks],
        "model": checked.config.model, "batch_size": checked.config.evaluate.batch_size,
    }  # fmt: skip
    inputs = merging.inputs
    if not tasks:
        inputs["dev"] = run.dev_rows().digest
    return Step("search", settings, inputs, derive(run.seed, "search"), checked.numerics, version=2)


def _tasks(run: Run, section: Search) -> list[Any]:
    return [task for task in run.checked.dev_tasks if not section.tasks or task.name in section.tasks]


def _on(run: Run, section: Search) -> list[str]:
    return [task.name for task in _tasks(run, section)] or ["held-out loss"]


def scoring_job(
    run: Run, merging: Merging, tasks: Sequence[Any], formats: Sequence[str], *, dev: bool
) -> dict[str, Any]:
    """What `scoring.measure` needs to know, as plain JSON: the model as evaluation loads the merged one."""
    config, checked = run.checked.config, run.checked
    options = {name: value for name, value in config.model.items() if name not in ("dtype", "quantization")}
    dtype = config.model.get("dtype", "auto")
    if dtype == "auto":
        dtype = merging.section.dtype or "auto"
    return {
        "loading": {"model": str(merging.base.folder), "adapter": None, "dtype": dtype, "options": options,
                    "device": checked.device, "threads": checked.threads},
        "tasks": [task.spec for task in tasks], "formats": list(formats),
        "examples": str(run.dev.file) if dev and run.dev else None,
        "batch_size": config.evaluate.batch_size, "seed": 0,
    }  # fmt: skip
