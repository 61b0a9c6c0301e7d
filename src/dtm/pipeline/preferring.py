"""Sampling, pairing and the preference step as steps of the store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.foundations.errors import ConfigError
from dtm.foundations.launch import Job
from dtm.foundations.seeds import derive, derive32
from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Model
from dtm.pipeline import evaluating, pairing
from dtm.pipeline.estimates import activations, parameters, train_needs
from dtm.pipeline.rows import Rows, model_digest, rows_of
from dtm.pipeline.steps import Work
from dtm.pipeline.training import reported
from dtm.sections import Pair, Sample
from dtm.train import Settings, as_supervised, steps_of

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

SAMPLE, PREFER, CHECK = "dtm.evaluate.sampling:sample", "dtm.train.dpo:prefer", "dtm.train.dpo:check"
GUESSED = 0.25  # in planning: of the longest answer allowed, how much a model says


@dataclass(frozen=True)
class Rollouts:
    """What a model answered: questions.arrow and rollouts.arrow in a folder. `passed`: tokens that it read and said."""

    model: str
    artifact: Artifact
    limit: int  # tokens of an answer

    @property
    def passed(self) -> int:
        facts = self.artifact.facts
        return facts.get("tokens", 0) + facts.get("read_tokens", 0)


@dataclass(frozen=True)
class Pairs:
    """Preference pairs in the store. `tokens` counts a prompt twice; `passed` are tokens that sampling them cost."""

    name: str
    folder: Path
    digest: str
    count: int
    tokens: int
    trained_tokens: int
    passed: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / "pairs.arrow"


def sample(run: Run, section: Sample, model: Model, examples: Rows) -> Rollouts:
    """Answers of the model to the examples' questions, drawn with a temperature."""
    checked = run.checked
    preference, direct = checked.preference, None
    if "direct" in preference.rule.method.needs:  # type: ignore[union-attr]
        direct = section.direct
    own = {
        "copies": section.num_return_sequences, "temperature": section.temperature, "top_p": section.top_p,
        "top_k": section.top_k, "most": section.max_new_tokens, "sources": section.sources and sorted(section.sources),
        "limit": section.limit, "direct": direct, "batch_size": section.batch_size,
    }  # fmt: skip
    seed = derive(run.seed, "sample")
    step = Step("sample", {**own, "model": checked.config.model},
                {**evaluating.inputs_of(model), "examples": examples.digest}, seed, checked.numerics)  # fmt: skip

    def arguments(claim: Claim) -> dict[str, Any]:
        return {**evaluating.job_of(run, model), **own, "examples": str(examples.file), "seed": seed,
                "output": str(claim.output), "scratch": str(claim.scratch)}  # fmt: skip

    count = min(examples.count, section.limit or examples.count)
    said = round(count * section.num_return_sequences * section.max_new_tokens * GUESSED)
    needs = {"rows": count * section.num_return_sequences, "questions": count, "tokens": said,
             "read_tokens": examples.tokens * count // examples.count}  # fmt: skip
    if run.steps.planning:
        needs |= {"parameters": parameters(run.base().folder), "asked": said + needs["read_tokens"]}
    what = f"{section.num_return_sequences} answers to each of {count:,} questions at most"
    work = Work(f"{model.name} rollouts", what, step, SAMPLE, arguments, needs)
    return Rollouts(model.name, run.steps.make_all([work])[0], section.max_new_tokens)


def pair(run: Run, section: Pair, rollouts: Rollouts) -> Pairs:
    """The pairs that a rule makes of the rollouts."""
    preference, made = run.checked.preference, rollouts.artifact
    assert preference is not None
    step = Step("pair", {**preference.key, "gold": section.gold}, {"rollouts": made.digest}, version=1)
    label = f"{rollouts.model} pairs"
    asked = made.facts.get("questions", 0)
    needs = {"rows": asked, "tokens": asked * 2 * rollouts.limit, "trained_tokens": asked * rollouts.limit}
    artifact = run.steps.make(
        label, preference.rule.method.name, step,
        lambda claim: pairing.pair(made.folder, preference, section.gold, claim),
        heavy=made.pending, needs=needs,
    )  # fmt: skip
    return pairs_of(run, label, preference.rule.method.name, artifact, rollouts.passed)


def pairs_of(run: Run, name: str, rule: str, artifact: Artifact, passed: int = 0) -> Pairs:
    """The pairs of a finished step, whose yield is kept for the results, or of a planned one."""
    facts = artifact.facts
    if not artifact.pending:
        reasons = [{"reason": reason, "count": count} for reason, count in facts["yield"]["reasons"].items()]
        told = {"for": run.making, "pairs": name, "rule": rule, **facts["yield"], "reasons": reasons}
        run.yields.append(told)
        run.cards[f"pairs:{name}"] = artifact
    digest = artifact.manifest["files"].get("pairs.arrow", artifact.digest)
    counts = (facts["rows"], facts["tokens"], facts["trained_tokens"])
    return Pairs(name, artifact.folder, digest, *counts, passed, facts.get("yield", {}))


def chosen(run: Run, pairs: Pairs) -> Rows:
    """The distinct chosen answers, as rows to fine-tune on."""
    facts = {"rows": pairs.count, "tokens": pairs.tokens // 2, "trained_tokens": pairs.trained_tokens // 2}
    artifact = run.steps.make(
        f"{pairs.name}: chosen", "as rows", Step("chosen", inputs={"pairs": pairs.digest}),
        lambda claim: pairing.chosen_rows(pairs.file, claim), heavy=not pairs.file.exists(), needs=facts,
    )  # fmt: skip
    return rows_of("chosen", artifact, "chosen.arrow", artifact.facts, "chosen")


def in_place(run: Run, pairs: Pairs, rows: Rows) -> Any:
    """The training section of a control: fine-tuning on `rows` in place of the preference step, at the same compute.

    Its settings are the preference step's, its length that of what the step and its sampling cost: a token that is read
    counts one, and two more where it is trained on. DPO reads every pair once as the reference; a look at the pairs
    afterwards is a measurement, and is not counted.
    """
    settings = run.checked.preference.settings  # type: ignore[union-attr]
    epochs = steps_of(settings, pairs.count) * settings.batch_size / pairs.count
    spent = pairs.passed + pairs.tokens * (1 + 3 * epochs)
    a_step = 3 * settings.batch_size * rows.tokens / rows.count
    steps = max(1, math.ceil(spent / a_step))
    return run.checked.config.train.but(**{**as_supervised(settings.args), "max_steps": steps})


def prefer(run: Run, model: Model, pairs: Pairs, name: str, shuffled: bool) -> Model:
    """DPO on the pairs from the model, which is the reference too; `shuffled` exchanges the labels of half of them."""
    start = run.materialise(model)
    one = _Preferring(run, name, pairs, start, run.checked.preference.settings, shuffled)  # type: ignore[union-attr]
    if not run.steps.planning and run.steps.store.find(one.step) is None:
        job = Job("settings", CHECK, {**one.plain, "scratch": str(run.steps.store.root / "work")})
        with run.steps.display.aside("settings", "a worker starts, and checks them"):
            run.steps.launcher.map([job])
    made = run.steps.make_all([one.work])[0]
    facts = made.facts
    if not made.pending:
        _tell(run, one.told(made))
    return Model(
        name, made.folder, model_digest(made), adapter_of=start if one.settings.lora else None,
        tokens=start.tokens + facts.get("tokens", 0), steps=start.steps + facts.get("steps", 0),
    )  # fmt: skip


@dataclass(frozen=True)
class _Preferring:
    """One preference step: from `start`, a whole model, on the pairs."""

    run: Run
    name: str
    pairs: Pairs
    start: Model
    settings: Settings
    shuffled: bool

    @property
    def seed(self) -> int:
        return derive32(self.run.seed, "prefer")

    @property
    def step(self) -> Step:
        settings = {**self.settings.keyed, "model": self.run.checked.config.model}
        if self.shuffled:
            settings["labels"] = "shuffled"
        return Step("prefer", settings, {"base": self.start.digest, "pairs": self.pairs.digest}, self.seed,
                    self.run.checked.numerics)  # fmt: skip

    @property
    def plain(self) -> dict[str, Any]:
        """What the job and the check of its settings share."""
        lora = self.settings.lora
        return {"args": dict(self.settings.args), "lora": lora and dict(lora), "seed": self.seed,
                "device": self.run.checked.device}  # fmt: skip

    @property
    def work(self) -> Work:
        start = self.start if self.start.folder.exists() else self.run.base()  # in planning: of the same size
        needs = train_needs(start, self.settings, self.pairs.count, self.pairs.tokens)
        if needs["parameters"] == 0:
            raise ConfigError("no module of the base is named by target_modules",
                              where=self.run.checked.file.where("train.lora.target_modules"))  # fmt: skip
        epochs = needs["steps"] * self.settings.batch_size / self.pairs.count
        second = activations(start.folder, self.settings)  # a pair is two rows
        needs = {**needs, "tokens": round(self.pairs.tokens * epochs), "memory": needs["memory"] + second}
        what = f"DPO on {self.pairs.count:,} pairs" + (", labels shuffled" if self.shuffled else "")
        return Work(
            self.name, what, self.step, PREFER, lambda claim: self.arguments(claim, needs["steps"]), needs
        )

    def arguments(self, claim: Claim, steps: int) -> dict[str, Any]:
        """The job for `dtm.train.dpo.prefer`."""
        checked = self.run.checked
        return {
            **self.plain, "name": self.name, "base": str(self.start.folder), "base_name": checked.config.base,
            "pairs": str(self.pairs.file), "output": str(claim.output), "scratch": str(claim.scratch),
            "model": dict(checked.config.model), "threads": checked.threads, "total_steps": steps,
            "swapped": _half(self.pairs.count, derive(self.run.seed, "shuffle")) if self.shuffled else [],
            "yield": dict(self.pairs.facts),
            "reporting": reported(self.run, self.name, self.step, self.settings.args),
        }  # fmt: skip

    def told(self, made: Artifact) -> dict[str, Any]:
        """What results.json says of the step."""
        return {
            "model": self.name,
            "labels": "shuffled" if self.shuffled else "as judged",
            **made.facts["preference"],
        }


def _tell(run: Run, preference: dict[str, Any]) -> None:
    """Keep what a step did for the results, and warn where it raised the alarm."""
    from dtm.report.preference import alarms

    run.preferences.append({"for": run.making, **preference})
    for line in alarms([preference]):
        run.steps.display.note(f"  [yellow]{line}[/]")


def _half(count: int, seed: int) -> list[int]:
    """Half of the places, drawn by the seed, in order."""
    import numpy as np

    return sorted(np.random.default_rng(seed).permutation(count)[: count // 2].tolist())
