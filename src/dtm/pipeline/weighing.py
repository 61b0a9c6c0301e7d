"""What a merge needs beside the sub-models: statistics of them, and weights, given, counted or searched for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dtm.config import Search
from dtm.foundations.errors import DataError
from dtm.foundations.files import read_json
from dtm.foundations.registry import Bound
from dtm.foundations.seeds import derive, derive32
from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Model
from dtm.pipeline.steps import Work

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Rows, Run

STATISTICS = {"fisher": "dtm.foundations.signals.fisher:fisher", "gram": "dtm.foundations.signals.gram:gram"}
FILE = "statistics.safetensors"
SEARCH = "dtm.pipeline.search:search"


def needed(bound: Bound) -> str | None:
    """The statistic that a merge method needs, or that the method it wraps needs."""
    from dtm.merge.planning import treatment_of

    return treatment_of(bound).needs


def scale_free(bound: Bound) -> bool:
    """Whether only the shares of the weights matter: a mean of equal models is that model at any scale."""
    from dtm.merge.planning import treatment_of

    return treatment_of(bound).idempotent or bool(bound.settings.get("normalize"))


def gather(run: Run, submodels: Sequence[Model], portions: Sequence[Rows]) -> list[Artifact]:
    """The statistic that the merge method needs, one artifact a sub-model, each on rows of its own portion."""
    need = needed(run.checked.merge)
    if need is None:
        return []
    works = [_statistic(run, need, number, *pair)
             for number, pair in enumerate(zip(submodels, portions, strict=True))]  # fmt: skip
    return run.steps.make_all(works)


def _statistic(run: Run, need: str, number: int, model: Model, rows: Rows) -> Work:
    config, checked = run.checked.config, run.checked
    count, seed = config.merge.statistics.rows, derive32(run.seed, "statistics", number)
    options = {name: value for name, value in config.model.items() if name not in ("dtype", "quantization")}
    base = run.base()
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


def weights_of(said: Any, portions: Sequence[Rows]) -> list[float]:
    """The weights as said; the engine normalises where the method asks for it."""
    if isinstance(said, list):
        return [float(weight) for weight in said]
    counts = {"uniform": [1] * len(portions), "rows": [p.count for p in portions],
              "tokens": [p.trained_tokens for p in portions]}[said]  # fmt: skip
    return [count / sum(counts) for count in counts]


def searched(
    run: Run, section: Search, submodels: Sequence[Model], statistics: Sequence[Artifact]
) -> tuple[list[float], dict[str, Any]]:
    """The weights that a search found, and its card: {search, budget, score, uniform, path, ...}.

    In planning, where the search is still to be done, there are no weights yet.
    """
    step = _search_step(run, section, submodels, statistics)
    settings = step.settings
    seed = derive32(run.seed, "search")

    def arguments(claim: Claim) -> dict[str, Any]:
        return {
            "search": section.search, "budget": section.budget, "seed": seed, "scale_free": settings["scale_free"],
            "merge": merge_job(run, submodels, statistics),
            "scoring": scoring_job(run, _tasks(run, section), ["raw"], dev=not _tasks(run, section)),
            "output": str(claim.output), "scratch": str(claim.scratch),
        }  # fmt: skip

    what = f"{section.search}, {section.budget} candidates"
    artifact = run.steps.make_all([Work("search", what, step, SEARCH, arguments)])[0]
    if "weights" not in artifact.facts:
        return [], {}
    card = {"search": section.search, "budget": section.budget, "on": _on(run, section), **artifact.facts}
    return list(artifact.facts["weights"]), {**card, "path": read_json(artifact.folder / "path.json")}


def _search_step(
    run: Run, section: Search, submodels: Sequence[Model], statistics: Sequence[Artifact]
) -> Step:
    checked, tasks = run.checked, _tasks(run, section)
    settings = {
        **merge_settings(run), "search": section.search, "budget": section.budget,
        "scale_free": scale_free(checked.merge), "tasks": [task.fingerprint for task in tasks],
        "model": checked.config.model, "batch_size": checked.config.evaluate.batch_size,
    }  # fmt: skip
    inputs = merge_inputs(run, submodels, statistics)
    if not tasks:
        if run.dev is None:
            raise DataError("no row fell into the dev share, so there is nothing to search on", where="dev.fraction",
                            mend="Raise dev.fraction, or name dev.tasks")  # fmt: skip
        inputs["dev"] = run.dev.digest
    return Step("search", settings, inputs, derive(run.seed, "search"), checked.numerics)


def _tasks(run: Run, section: Search) -> list[Any]:
    return [task for task in run.checked.dev_tasks if not section.tasks or task.name in section.tasks]


def _on(run: Run, section: Search) -> list[str]:
    return [task.name for task in _tasks(run, section)] or ["held-out loss"]


def merge_settings(run: Run) -> dict[str, Any]:
    """The part of a step's key that says how is merged."""
    section = run.checked.config.merge
    return {**run.checked.merge.key, "space": section.space, "export": section.export, "dtype": section.dtype}


def merge_inputs(run: Run, submodels: Sequence[Model], statistics: Sequence[Artifact]) -> dict[str, str]:
    """The part of a step's key that says what is merged."""
    return {
        "base": run.base().digest,
        **{f"model {number}": model.digest for number, model in enumerate(submodels)},
        **{f"statistic {number}": one.digest for number, one in enumerate(statistics)},
    }


def merge_job(run: Run, submodels: Sequence[Model], statistics: Sequence[Artifact]) -> dict[str, Any]:
    """What `scoring.InMemory` needs to know, as plain JSON."""
    section, bound = run.checked.config.merge, run.checked.merge
    return {
        "base": str(run.base().folder), "models": [str(model.folder) for model in submodels],
        "method": bound.method.name, "settings": bound.settings, "space": section.space, "dtype": section.dtype,
        "statistics": [str(one.folder / FILE) for one in statistics], "seed": derive(run.seed, "merge"),
        "threads": run.checked.threads,
    }  # fmt: skip


def scoring_job(run: Run, tasks: Sequence[Any], formats: Sequence[str], *, dev: bool) -> dict[str, Any]:
    """What `scoring.measure` needs to know, as plain JSON: the model as evaluation loads the merged one."""
    config, checked = run.checked.config, run.checked
    options = {name: value for name, value in config.model.items() if name not in ("dtype", "quantization")}
    dtype = config.model.get("dtype", "auto")
    if dtype == "auto":
        dtype = config.merge.dtype or "auto"
    return {
        "loading": {"model": str(run.base().folder), "adapter": None, "dtype": dtype, "options": options,
                    "device": checked.device, "threads": checked.threads},
        "tasks": [task.spec for task in tasks], "formats": list(formats),
        "examples": str(run.dev.file) if dev and run.dev else None,
        "batch_size": config.evaluate.batch_size, "seed": 0,
    }  # fmt: skip
