"""Evaluation as steps of the store: a model on a task, a model on held-out rows, and its score on dev."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, Any

from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Model
from dtm.pipeline.rows import Rows
from dtm.pipeline.steps import Work

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

EVALUATE, HELDOUT = "dtm.evaluate.harness:evaluate", "dtm.evaluate.heldout:response_loss"
Evaluated = dict[tuple[str, str, str], Artifact]  # by (model, task, format); (model, "heldout", "loss")


@dataclass(frozen=True)
class DevScore:
    """What a model is chosen by; more is better. `tasks` are by name and format, or there is a `loss`."""

    score: float
    tasks: dict[str, float]
    loss: float | None = None


def evaluate(run: Run, models: Sequence[Model]) -> Evaluated:
    """Every model on every task of `evaluate.tasks` in every format, and the held-out loss."""
    works: dict[tuple[str, str, str], Work] = {}
    for model in models:
        for task in run.checked.tasks:
            for form in formats(run):
                works[model.name, task.name, form] = _on_task(run, model, task, form)
        if run.checked.config.evaluate.heldout and run.dev is not None:
            works[model.name, "heldout", "loss"] = _on_rows(run, model, run.dev)
    return dict(zip(works, run.steps.make_all(list(works.values())), strict=True))


def dev_scores(run: Run, models: Sequence[Model]) -> list[DevScore] | None:
    """Each model's score on dev: the mean over `dev.tasks` and formats of the primary metric, or the held-out loss.

    The loss counts where there is no dev task, its sign turned. None in planning, where it is not known yet.
    """
    tasks = [(task, form) for task in run.checked.dev_tasks for form in formats(run)]
    if tasks:
        works = [_on_task(run, model, *one, stage="dev ") for model in models for one in tasks]
    else:
        works = [_on_rows(run, model, run.dev_rows()) for model in models]
    made = run.steps.make_all(works)
    if run.steps.planning and any("pending" in one.manifest for one in made):
        return None
    if not tasks:
        losses = [one.facts["sources"]["all"]["loss"] for one in made]
        return [DevScore(-loss, {}, loss) for loss in losses]
    count = len(tasks)
    return [_mean(tasks, made[first : first + count]) for first in range(0, len(made), count)]


def dev_metric(run: Run) -> str:
    """What `DevScore.score` is, in words."""
    names = ", ".join(task.name for task in run.checked.dev_tasks)
    return f"mean of {names}" if names else "minus the held-out loss"


def formats(run: Run) -> list[str]:
    said = run.checked.config.evaluate.format
    return ["raw", "chat"] if said == "both" else [said]


def _mean(tasks: Sequence[tuple[Any, str]], artifacts: Sequence[Artifact]) -> DevScore:
    from dtm.evaluate.summary import primary_metric, read_items

    values = {}
    for (task, form), artifact in zip(tasks, artifacts, strict=True):
        metric = primary_metric(read_items(artifact.folder), task.metrics)
        name = task.name if form == "raw" else f"{task.name} ({form})"
        values[name] = artifact.facts["scores"][metric]["value"]
    return DevScore(fsum(values.values()) / len(values), values)


def _on_task(run: Run, model: Model, task: Any, form: str, stage: str = "") -> Work:
    checked, config = run.checked, run.checked.config
    backend = config.evaluate.backend and config.evaluate.backend.model_dump()
    settings = {"task": task.fingerprint, "format": form, "batch_size": config.evaluate.batch_size,
                "model": config.model, "backend": backend}  # fmt: skip
    step = Step("evaluate", settings, _inputs(model), None, checked.numerics)

    def arguments(claim: Claim) -> dict[str, Any]:
        return {
            **_job(run, model), "task": task.spec, "output": str(claim.output), "chat": form == "chat",
            "batch_size": config.evaluate.batch_size, "backend": backend, "max_length": None,
            "seed": 0,  # all seeds of a study meet the same prompts
        }  # fmt: skip

    label = f"{model.name} {stage}{task.name}" + (" chat" if form == "chat" else "")
    needs = {"items": len(task.items or ())}
    return Work(label, f"{task.name} ({form})", step, EVALUATE, arguments, needs)


def _on_rows(run: Run, model: Model, dev: Rows) -> Work:
    settings = {"model": run.checked.config.model}
    step = Step("heldout", settings, {**_inputs(model), "examples": dev.digest}, None, run.checked.numerics)

    def arguments(claim: Claim) -> dict[str, Any]:
        return {**_job(run, model), "examples": str(dev.file), "output": str(claim.output)}

    label = f"{model.name} held-out loss"
    return Work(label, f"{dev.count} rows", step, HELDOUT, arguments, {"rows": dev.count})


def _inputs(model: Model) -> dict[str, str]:
    return {"model": model.digest, **({"base": model.base.digest} if model.adapter_of else {})}


def _job(run: Run, model: Model) -> dict[str, Any]:
    """What a worker loads, and how: by the run file's settings, but never quantised, as merging is not."""
    config = run.checked.config
    options = {name: value for name, value in config.model.items() if name not in ("dtype", "quantization")}
    return {
        "name": model.name, "model": str(model.base.folder), "adapter": str(model.folder) if model.adapter_of else None,
        "dtype": config.model.get("dtype", "auto"), "options": options,
        "device": run.checked.device, "threads": run.checked.threads,
    }  # fmt: skip
