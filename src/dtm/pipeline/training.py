"""Training as steps of the store: a model, the checkpoints that were kept on its way, and the worker's job.

Checkpoints are steps of their own, each keyed by the training's settings and its share of the optimizer steps. So a
training asked for 20 of them serves one asked for 10 or none, and what kept checkpoints never enters the final
model's key: kept or not, it has the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.foundations.errors import ConfigError
from dtm.foundations.files import link, text_digest, walk
from dtm.foundations.launch import Job
from dtm.foundations.seeds import derive32
from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Model
from dtm.pipeline.estimates import merge_needs, train_needs
from dtm.pipeline.failing import drop, is_dropped
from dtm.pipeline.journal import LOGS
from dtm.pipeline.regularising import with_statistic
from dtm.pipeline.rows import Rows, model_digest
from dtm.pipeline.steps import Work
from dtm.train import Settings
from dtm.train.reporting import reports

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

TRAIN, CHECK, WARM = "dtm.train.sft:train", "dtm.train.sft:check", "dtm.train.sft:warm"
POINTS = "checkpoints"  # folder of a training's output


@dataclass(frozen=True)
class Training:
    """One model to train: from `start`, a whole model, on `rows`.

    `variant` other than 0 draws other seeds for the same rows; `checkpoints` is how many points of the run to
    keep, evenly spaced, or at which shares of its steps; `statistic` is what its regulariser needs of the start.
    """

    run: Run
    name: str
    rows: Rows
    start: Model
    settings: Settings
    checkpoints: int | tuple[Fraction, ...] = 0
    variant: int = 0
    statistic: Artifact | None = None

    @property
    def processes(self) -> int:
        return self.run.checked.launch.share.processes

    @property
    def purpose(self) -> tuple[object, ...]:
        """What seeds are derived from, besides the run's."""
        part = self.rows.lineage or self.rows.part
        return (part, self.variant) if self.variant else (part,)

    @cached_property
    def needs(self) -> dict[str, Any]:
        """Rows, tokens, steps, disk and memory."""
        start = self.start if self.start.folder.exists() else self.run.base()  # in planning: of the same size
        needs = train_needs(start, self.settings, self.rows.count, self.rows.tokens, self.processes)
        if needs["parameters"] == 0:
            raise ConfigError(
                f"no module of the base is named by target_modules: {self.settings.lora['target_modules']}",  # type: ignore[index]
                where=self.run.checked.file.where("train.lora.target_modules"),
                mend="all-linear takes every linear layer but the output head",
            )
        return {**needs, "disk": needs["disk"] * (1 + len(self.shares))}

    @cached_property
    def shares(self) -> list[Fraction]:
        """Of the optimizer steps, where checkpoints are kept; the last, 1, is the final model."""
        kept = self.checkpoints
        if isinstance(kept, int):
            return [Fraction(number, kept) for number in range(1, kept)]
        return sorted({share for share in kept if 0 < share < 1})

    @cached_property
    def final(self) -> Step:
        """The step that makes the trained model."""
        run, settings = self.run, self.settings
        known = {"fisher": self.statistic.digest} if self.statistic else {}
        return Step(
            "train", {**settings.keyed, "model": run.checked.config.model, "adapter_seed": self.adapter_seed},
            {"base": self.start.digest, "examples": self.rows.digest, **known}, self.seed,
            run.checked.launch.numerics,
        )  # fmt: skip

    @cached_property
    def points(self) -> dict[str, Step]:
        """The steps of the checkpoints, by share as text: `3/10`."""
        return {str(share): self._with("checkpoint", share=str(share)) for share in self.shares}

    @cached_property
    def whole(self) -> Step:
        """The step that trains, and keeps the checkpoints."""
        return self._with("train", checkpoints=list(self.points)) if self.points else self.final

    @property
    def seed(self) -> int:
        return derive32(self.run.seed, "train", *self.purpose)

    @property
    def adapter_seed(self) -> int:
        own = () if self.settings.same_adapter_init else self.purpose
        return derive32(self.run.seed, "adapter", *own)

    def work(self, step: Step) -> Work:
        what = f"{self.rows.count:,} rows, {self.rows.trained_tokens:,} tokens"
        return Work(self.name, what, step, TRAIN, self.arguments, self.needs, spread=True)

    def arguments(self, claim: Claim) -> dict[str, Any]:
        """The job for `dtm.train.sft.train`."""
        checked, settings = self.run.checked, self.settings
        prepared = self.start.digest == self.run.base().digest
        return {
            "name": self.name, "base": str(self.start.folder),
            "base_name": checked.config.base if prepared else self.start.name,
            "examples": str(self.rows.file), "output": str(claim.output), "scratch": str(claim.scratch),
            "args": dict(settings.args), "lora": settings.lora and dict(settings.lora),
            "model": dict(checked.config.model), "seed": self.seed, "adapter_seed": self.adapter_seed,
            "threads": checked.threads, "device": checked.device, "total_steps": self.needs["steps"],
            "checkpoints": list(self.points), "regularise": self._regulariser(),
            "dropout": settings.dropout and dict(settings.dropout),
            "reporting": reported(self.run, self.name, self.whole, settings.args),
        }  # fmt: skip

    def _regulariser(self) -> dict[str, Any] | None:
        """The method for the worker, which may be asked to probe before the statistic is there."""
        bound, made = self.settings.regularise, self.statistic
        if bound is None:
            return None
        there = str(made.folder) if made is not None and not made.pending else None
        return {"method": bound.method.name, "settings": bound.settings, "statistic": there}

    def _with(self, name: str, **settings: Any) -> Step:
        return replace(self.final, name=name, settings={**self.final.settings, **settings})


def train(run: Run, trainings: Sequence[Training]) -> list[Model]:
    """All of them, side by side on the launcher's workers; what the store holds is not trained again.

    Sub-models that failed for good are left out where `on_failure` says so, and those that were dropped before.
    """
    trainings = [one for one in trainings if not is_dropped(run, one.rows, one.name)]
    trainings = with_statistic(run, trainings)
    kept = [_kept(run, one) for one in trainings]
    if not all(kept) and not run.steps.planning:
        _check_values(run, [one for one, there in zip(trainings, kept, strict=True) if not there])
    works = [one.work(one.final if there else one.whole) for one, there in zip(trainings, kept, strict=True)]
    later = merge_needs(trainings[0].start, run.checked.config.merge.export) if trainings else {}
    made, failures = run.steps.make_some(works, later)
    models = [
        _model(run, one, artifact)
        for one, artifact in zip(trainings, made, strict=True)
        if artifact is not None
    ]
    if failures:
        drop(run, failures, trainings)
    return models


def _kept(run: Run, training: Training) -> bool:
    """Whether the store holds the model and all checkpoints that are wanted."""
    return all(run.steps.find(step) for step in (training.final, *training.points.values()))


def _model(run: Run, training: Training, made: Artifact) -> Model:
    """The trained model, with its checkpoints; `made` may hold them all in one folder."""
    final, points = made, list[Artifact]()
    if training.points:
        final = _taken(run, training.final, made, "", made.facts)
        told = made.facts.get(POINTS, {})  # empty where all of them are in the store
        for share, step in training.points.items():
            facts = told.get(share, {})
            points.append(_taken(run, step, made, f"{POINTS}/{facts.get('step')}", facts))
    model = _named(training, training.name, final, Fraction(1))
    named = [
        _named(training, f"{training.name}@{point.facts.get('step', share)}", point, Fraction(share))
        for share, point in zip(training.points, points, strict=True)
    ]
    last = [replace(model, name=f"{training.name}@{final.facts.get('steps', '1')}")] if named else []
    return replace(model, checkpoints=tuple(_distinct([*named, *last])))


def _named(training: Training, name: str, artifact: Artifact, share: Fraction) -> Model:
    facts, start = artifact.facts, training.start
    return Model(
        name, artifact.folder, model_digest(artifact), adapter_of=start if training.settings.lora else None,
        tokens=start.tokens + facts.get("tokens", 0), steps=start.steps + facts.get("steps", 0),
        facts={"share": facts.get("share", float(share))},
    )  # fmt: skip


def _distinct(checkpoints: Iterable[Model]) -> list[Model]:
    """One a step: a short training has fewer steps than checkpoints are wanted. The later of equals."""
    return list({model.facts["share"]: model for model in checkpoints}.values())


def _taken(run: Run, step: Step, made: Artifact, place: str, facts: dict[str, Any]) -> Artifact:
    """The step's artifact: files that stand at `place` in the folder of a finished training, linked."""

    def build(claim: Claim) -> dict[str, Any]:
        for name, path in walk(made.folder / place):
            if name != "manifest.json" and not name.startswith(f"{POINTS}/"):
                link(path, claim.output / name)
        return {name: value for name, value in facts.items() if name != POINTS}

    return run.steps.derive(step, build, seconds=made.manifest.get("seconds", 0.0))


def reported(run: Run, name: str, step: Step, args: Mapping[str, Any]) -> dict[str, str] | None:
    """How a training is called where it reports to: in the group of its run, which `run_name` names."""
    if not reports(args):
        return None
    folder = run.steps.folder.resolve()
    return {
        "name": name, "group": str(args.get("run_name") or folder.name), "folder": str(folder / LOGS),
        "id": text_digest(f"{folder}/{step.key}")[:16],
    }  # fmt: skip


def _check_values(run: Run, trainings: Sequence[Training]) -> None:
    """Let trl and peft judge the values in a worker that then stays to train."""
    scratch = Path(run.steps.store.root / "work")
    seen: list[Settings] = []
    for settings in (one.settings for one in trainings):
        if settings in seen:
            continue
        seen.append(settings)
        arguments = {"args": dict(settings.args), "lora": settings.lora and dict(settings.lora), "seed": 0,
                     "dropout": settings.dropout and dict(settings.dropout), "base": str(run.base().folder),
                     "device": run.checked.device, "scratch": str(scratch)}  # fmt: skip
        with run.steps.display.aside("settings", "a worker starts, and checks them"):
            run.steps.launcher.map([Job("settings", CHECK, arguments)])
