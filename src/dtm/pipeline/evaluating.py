"""Evaluation as steps of the store: a model on a task, a model on held-out rows, and its score on dev."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.foundations.files import canonical, text_digest
from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Model
from dtm.pipeline.estimates import parameters
from dtm.pipeline.steps import Work

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

EVALUATE, HELDOUT = "dtm.evaluate.harness:evaluate", "dtm.evaluate.heldout:response_loss"
ENSEMBLE, MEAN = "ensemble", "mean"
Evaluated = dict[tuple[str, str, str], Artifact]  # by (model, task, format); (model, "heldout", "loss")


@dataclass(frozen=True)
class Question:
    """What a model is to be measured on: a task in a format, or where `task` is None the held-out rows."""

    model: Model
    task: Any = None
    form: str = "loss"
    stage: str = ""  # stands in the label: "dev "

    @property
    def label(self) -> str:
        what = f"{self.stage}{self.task.name}" if self.task else "held-out loss"
        return f"{self.model.name} {what}" + (" chat" if self.form == "chat" else "")

    @property
    def each(self) -> list[Question]:
        """The questions that a worker answers: this one, or where scores are averaged one a part."""
        if self.model.facts.get("together") != MEAN:
            return [self]
        return [replace(self, model=part) for part in self.model.parts]


@dataclass(frozen=True)
class DevScore:
    """What a model is chosen by; more is better. `tasks` are by name and format, or there is a `loss`."""

    score: float
    tasks: dict[str, float]
    loss: float | None = None


def evaluate(run: Run, models: Sequence[Model]) -> Evaluated:
    """Every model on every task of `evaluate.tasks` in every format, and the held-out loss."""
    questions: dict[tuple[str, str, str], Question] = {}
    for model in models:
        for task in run.checked.tasks:
            for form in formats(run):
                questions[model.name, task.name, form] = Question(model, task, form)
        if run.checked.config.evaluate.heldout and run.dev is not None:
            questions[model.name, "heldout", "loss"] = Question(model)
    return dict(zip(questions, answers(run, list(questions.values())), strict=True))


def dev_scores(run: Run, models: Sequence[Model]) -> list[DevScore] | None:
    """Each model's score on dev: the mean over `dev.tasks` and formats of the primary metric, or the held-out loss.

    The loss counts where there is no dev task, its sign turned. None in planning, where it is not known yet.
    """
    tasks = [(task, form) for task in run.checked.dev_tasks for form in formats(run)]
    if tasks:
        questions = [Question(model, *one, stage="dev ") for model in models for one in tasks]
    else:
        run.dev_rows()  # raises where there are none
        questions = [Question(model) for model in models]
    made = answers(run, questions)
    if any(one.pending for one in made):
        return None
    if not tasks:
        losses = [one.facts["sources"]["all"]["loss"] for one in made]
        return [DevScore(-loss, {}, loss) for loss in losses]
    count = len(tasks)
    return [_mean(tasks, made[first : first + count]) for first in range(0, len(made), count)]


def answers(run: Run, questions: Sequence[Question]) -> list[Artifact]:
    """What was measured, in the order of the questions."""
    works = [_work(run, one) for question in questions for one in question.each]
    made = iter(run.steps.make_all(works))
    parts = [[next(made) for _ in question.each] for question in questions]
    return [
        _averaged(run, question, several) if question.each != [question] else several[0]
        for question, several in zip(questions, parts, strict=True)
    ]


def together(models: Sequence[Model], how: str, name: str) -> Model:
    """What is only ever evaluated: an ENSEMBLE, or the MEAN of the scores, charged with one model on average."""
    count = len(models) if how == MEAN else 1
    digest = text_digest(canonical([how, *(model.digest for model in models)]))
    tokens, steps = (sum(getattr(one, what) for one in models) // count for what in ("tokens", "steps"))
    return Model(name, Path("/nonexistent"), digest, tokens=tokens, steps=steps, parts=tuple(models),
                 facts={"together": how})  # fmt: skip


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


def _averaged(run: Run, question: Question, parts: Sequence[Artifact]) -> Artifact:
    """The mean over the parts' items, made here."""
    step = Step("mean_score", inputs={f"part {number}": one.digest for number, one in enumerate(parts)})
    folders = [one.folder for one in parts]

    def build(claim: Claim) -> dict[str, Any]:
        from dtm.evaluate.averaging import mean_of_rows, mean_of_tasks

        claim.empty()
        if question.task is None:
            return mean_of_rows(folders, claim.output)
        return mean_of_tasks(folders, [one.facts for one in parts], claim.output)

    return run.steps.make(question.label, f"mean over {len(parts)} models", step, build, heavy=True)


def _work(run: Run, question: Question) -> Work:
    return _on_rows(run, question) if question.task is None else _on_task(run, question)


def _on_task(run: Run, question: Question) -> Work:
    checked, config = run.checked, run.checked.config
    model, task, form = question.model, question.task, question.form
    backend = config.evaluate.backend and config.evaluate.backend.model_dump()
    settings = {"task": task.fingerprint, "format": form, "batch_size": config.evaluate.batch_size,
                "model": config.model, "backend": backend}  # fmt: skip
    step = Step("evaluate", settings, inputs_of(model), None, checked.numerics, version=2)

    def arguments(claim: Claim) -> dict[str, Any]:
        return {
            **job_of(run, model), "task": task.spec, "output": str(claim.output), "chat": form == "chat",
            "batch_size": config.evaluate.batch_size, "backend": backend, "max_length": None,
            "seed": 0,  # all seeds of a study meet the same prompts
        }  # fmt: skip

    needs = {"items": len(task.items), **_size(run, model, task.tokens)}
    return Work(question.label, f"{task.name} ({form})", step, EVALUATE, arguments, needs)


def _on_rows(run: Run, question: Question) -> Work:
    model, dev = question.model, run.dev_rows()
    settings = {"model": run.checked.config.model}
    step = Step("heldout", settings, {**inputs_of(model), "examples": dev.digest}, None, run.checked.numerics)

    def arguments(claim: Claim) -> dict[str, Any]:
        return {**job_of(run, model), "examples": str(dev.file), "output": str(claim.output)}

    needs = {"rows": dev.count, **_size(run, model, dev.tokens)}
    return Work(question.label, f"{dev.count} rows", step, HELDOUT, arguments, needs)


def _size(run: Run, model: Model, tokens: int) -> dict[str, int]:
    """In planning, what the time depends on: the parameters that answer, and about how many tokens they read."""
    if not run.steps.planning:
        return {}
    return {"parameters": parameters(run.base().folder) * max(1, len(model.parts)), "asked": tokens}


def inputs_of(model: Model) -> dict[str, str]:
    """The part of a step's key that says what is measured."""
    if model.parts:
        return {f"part {number} {name}": digest for number, part in enumerate(model.parts)
                for name, digest in inputs_of(part).items()}  # fmt: skip
    return {"model": model.digest, **({"base": model.base.digest} if model.adapter_of else {})}


def job_of(run: Run, model: Model) -> dict[str, Any]:
    """What a worker loads, and how: by the run file's settings, but never quantised, as merging is not."""
    config = run.checked.config
    options = {name: value for name, value in config.model.items() if name not in ("dtype", "quantization")}
    places = {"parts": [_place(part) for part in model.parts]} if model.parts else _place(model)
    return {
        "name": model.name, **places, "dtype": config.model.get("dtype", "auto"), "options": options,
        "device": run.checked.device, "threads": run.checked.threads,
    }  # fmt: skip


def _place(model: Model) -> dict[str, Any]:
    return {"model": str(model.base.folder), "adapter": str(model.folder) if model.adapter_of else None}
