"""The verbs that recipes call on `run`: load, disperse, train, train_each, merge - and evaluate.

A verb turns its arguments into a `Step` (what the result depends on) and a way to do it; `Steps` finds
the result in the store or does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtm.config import Search
from dtm.foundations.errors import ConfigError, DataError
from dtm.foundations.files import canonical, text_digest
from dtm.foundations.models import convert_gguf, is_model_file, prepare_base
from dtm.foundations.seeds import derive, derive32
from dtm.foundations.signals import check_embedder
from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Examples, Model
from dtm.pipeline import building, weighing
from dtm.pipeline.checks import Checked
from dtm.pipeline.estimates import merge_needs, train_needs
from dtm.pipeline.steps import Steps, Work
from dtm.train import Settings

TRAIN, CHECK = "dtm.train.sft:train", "dtm.train.sft:check"
EVALUATE, HELDOUT = "dtm.evaluate.harness:evaluate", "dtm.evaluate.heldout:response_loss"


class Stopped(Exception):
    """The stage that the command asked for is done."""


@dataclass(frozen=True)
class Rows:
    """Examples in the store: one Arrow file of rendered rows."""

    name: str
    file: Path
    digest: str
    count: int
    tokens: int
    trained_tokens: int

    def open(self) -> Examples:
        return Examples.open(self.file)


@dataclass
class Run:
    """One run: what was checked, how steps are done, and what they made."""

    checked: Checked
    steps: Steps
    until: str = "evaluate"
    cards: dict[str, Any] = field(default_factory=dict)
    dev: Rows | None = None
    portions: list[Rows] = field(default_factory=list)
    submodels: list[Model] = field(default_factory=list)
    _base: Model | None = None

    @property
    def seed(self) -> int:
        return self.checked.config.seed

    def base(self) -> Model:
        """The prepared base: converted if it is GGUF, with a chat template and the tokens that it lacked."""
        if self._base is None:
            found = self.checked.base
            folder, digest = found.path, found.digest(self.steps.store.digests)
            if found.kind == "gguf":
                step = Step("convert_gguf", inputs={"gguf": digest})
                artifact = self.steps.make(
                    "convert base",
                    f"reading {found.path.name}",
                    step,
                    lambda claim: convert_gguf(found.path, claim),
                )
                folder, digest = artifact.folder, model_digest(artifact)
            template = self.checked.template(building.own_template(folder))
            settings = {
                "template": text_digest(template.jinja),
                "tokens": list(template.tokens),
                "stop": template.stop,
            }
            artifact = self.steps.make(
                "prepare base", "chat template and tokens",
                Step("prepare_base", settings, {"base": digest}),
                lambda claim: prepare_base(folder, claim, template=template),
            )  # fmt: skip
            self._base = Model("base", artifact.folder, model_digest(artifact), facts=dict(artifact.facts))
        return self._base

    def load(self, entries: Any) -> Rows:
        """Read, deduplicate, render; the dev share is kept out and stands in `self.dev`."""
        config, base = self.checked.config, self.base()
        sources, digests = self.checked.sources, self.steps.store.digests
        prints = [source.fingerprint(digests) for source in sources]
        loaded = self.steps.make(
            "load", "reading the data",
            Step("load", {"entries": prints}, seed=derive(self.seed, "load"), version=2),
            lambda claim: building.load(sources, self.seed, claim, self._progress("load")),
        )  # fmt: skip
        limit = self.checked.train.args["max_length"]
        settings = {"max_length": limit, "too_long": config.chat.too_long, "dev": config.dev.fraction}
        rows = loaded.manifest["files"]["examples.arrow"]
        inputs = {"examples": rows, "tokenizer": building.tokenizer_digest(base.folder, digests)}
        rendered = self.steps.make(
            "render", "messages to tokens",
            Step("render", settings, inputs, derive(self.seed, "dev")),
            lambda claim: building.render(loaded.folder, base.folder, settings, derive(self.seed, "dev"), claim,
                                          self._progress("render")),
        )  # fmt: skip
        self.cards |= {"load": loaded, "render": rendered}
        if rendered.facts["dev"]["rows"]:
            self.dev = _rows("dev", rendered, "dev.arrow", rendered.facts["dev"])
        return _rows("train", rendered, "train.arrow", rendered.facts["train"])

    def disperse(self, section: Any, examples: Rows) -> list[Rows]:
        """K portions of the examples."""
        bound, k = self.checked.disperse, section.k
        if k > examples.count:
            raise DataError(
                f"{examples.count} rows cannot fill {k} portions", where=self.checked.file.where("disperse.k"),
                mend=f"Set k to {examples.count} or less, or add data",
            )  # fmt: skip
        settings: dict[str, Any] = {"k": k, **bound.key}
        inputs = {"examples": examples.digest}
        embedding = None
        if "embedding" in bound.method.needs:
            how = {"on": section.on, "dimensions": section.dimensions}
            settings["embedding"] = {**how, "embedder": check_embedder(section.embedder).key}
            embedding = {**how, "embedder": section.embedder}
        seed = derive(self.seed, "disperse")
        artifact = self.steps.make(
            "disperse", f"{bound.method.name} into {k} portions", Step("disperse", settings, inputs, seed),
            lambda claim: building.disperse(bound, examples.open(), k, seed, embedding, claim,
                                            self.checked.threads, self._progress("disperse")),
        )  # fmt: skip
        self.cards["disperse"] = artifact
        self.portions = [
            _rows(f"portion {index}", artifact, f"portion-{index}.arrow", facts)
            for index, facts in enumerate(artifact.facts["each"])
        ]
        self._stop_after("disperse")
        return self.portions

    def train(self, section: Any, base: Any, examples: Rows, *, name: str = "vanilla_sft") -> Model:
        """One model on all the examples."""
        self._stop_after("disperse")
        return self._train([(name, "all", examples)])[0]

    def train_each(self, section: Any, base: Any, portions: Sequence[Rows]) -> list[Model]:
        """A sub-model for each portion, side by side on the launcher's workers."""
        trained = self._train(
            [(f"submodel-{index}", str(index), rows) for index, rows in enumerate(portions)]
        )
        self.submodels += [
            model for model in trained if model.name not in {one.name for one in self.submodels}
        ]
        self._stop_after("train")
        return trained

    def merge(self, section: Any, base: Any, submodels: Sequence[Model], portions: Sequence[Rows]) -> Model:
        """The sub-models' weighted merge."""
        prepared, bound = self.base(), self.checked.merge
        statistics = weighing.gather(self, submodels, portions)
        search: dict[str, Any] = {}
        if isinstance(section.weights, Search):
            weights, search = weighing.searched(self, section.weights, submodels, statistics)
        else:
            weights = weighing.weights_of(section.weights, portions)
        form = {"space": section.space, "export": section.export, "dtype": section.dtype}
        settings = {**weighing.merge_settings(self), "weights": weights}
        files = [one.folder / weighing.FILE for one in statistics]
        seed = derive(self.seed, "merge")
        artifact = self.steps.make(
            "merge", f"{bound.method.name} of {len(submodels)} sub-models",
            Step("merge", settings, weighing.merge_inputs(self, submodels, statistics), seed, {"device": "cpu"},
                 version=3),
            lambda claim: building.merge(self.checked, prepared, submodels, bound, weights, files, seed, form,
                                         claim, self._progress("merge")),
            heavy=True, needs=merge_needs(prepared, section.export) if self.steps.planning else {},
        )  # fmt: skip
        self.cards["merge"] = {**settings, "paper": bound.method.paper, **artifact.facts}
        if search:
            self.cards["merge"]["search"] = search
        return Model(
            "merged", artifact.folder, model_digest(artifact),
            adapter_of=prepared if section.export == "adapter" else None,
            tokens=sum(model.tokens for model in submodels), steps=sum(model.steps for model in submodels),
        )  # fmt: skip

    def evaluate(self, models: Sequence[Model]) -> dict[tuple[str, str, str], Artifact]:
        """Every model on every task in every format, and the held-out loss; by (model, task, format)."""
        config = self.checked.config.evaluate
        formats = ["raw", "chat"] if config.format == "both" else [config.format]
        works: list[Work] = []
        keys: list[tuple[str, str, str]] = []
        for model in models:
            for task in self.checked.tasks:
                for form in formats:
                    works.append(self._evaluation(model, task, form))
                    keys.append((model.name, task.name, form))
            if config.heldout and self.dev is not None:
                works.append(self._heldout(model, self.dev))
                keys.append((model.name, "heldout", "loss"))
        return dict(zip(keys, self.steps.make_all(works), strict=True))

    def _train(self, wanted: Sequence[tuple[str, str, Rows]]) -> list[Model]:
        base, settings = self.base(), self.checked.train
        works = [self._training(name, which, rows, base, settings) for name, which, rows in wanted]
        if not self.steps.planning and any(self.steps.store.find(work.step) is None for work in works):
            self._check_values(settings, works[0])
        models = []
        artifacts = self.steps.make_all(works, merge_needs(base, self.checked.config.merge.export))
        for (name, _, _), artifact in zip(wanted, artifacts, strict=True):
            facts = artifact.facts
            models.append(Model(
                name, artifact.folder, model_digest(artifact), adapter_of=base if settings.lora else None,
                tokens=facts.get("tokens", 0), steps=facts.get("steps", 0),
            ))  # fmt: skip
        return models

    def _training(self, name: str, which: str, rows: Rows, base: Model, settings: Settings) -> Work:
        seed = derive32(self.seed, "train", which)
        adapter = derive32(self.seed, "adapter", *([] if settings.same_adapter_init else [which]))
        needs = train_needs(base, settings, rows.count, rows.tokens)
        if needs["parameters"] == 0:
            raise ConfigError(
                f"no module of the base is named by target_modules: {settings.lora['target_modules']}",  # type: ignore[index]
                where=self.checked.file.where("train.lora.target_modules"),
                mend="all-linear takes every linear layer but the output head",
            )
        step = Step(
            "train", {**settings.keyed, "model": self.checked.config.model, "adapter_seed": adapter},
            {"base": base.digest, "examples": rows.digest}, seed, self.checked.numerics,
        )  # fmt: skip

        def arguments(claim: Claim) -> dict[str, Any]:
            return {
                "name": name, "base": str(base.folder), "base_name": self.checked.config.base,
                "examples": str(rows.file), "output": str(claim.output), "scratch": str(claim.scratch),
                "args": dict(settings.args), "lora": settings.lora and dict(settings.lora),
                "model": dict(self.checked.config.model), "seed": seed, "adapter_seed": adapter,
                "threads": self.checked.threads, "device": self.checked.device,
                "total_steps": needs["steps"],
            }  # fmt: skip

        return Work(
            name, f"{rows.count:,} rows, {rows.trained_tokens:,} tokens", step, TRAIN, arguments, needs
        )

    def _check_values(self, settings: Settings, work: Work) -> None:
        """Let trl and peft judge the values in a worker that then stays to train."""
        from dtm.foundations.launch import Job

        scratch = str(self.steps.store.root / "work")
        lora = settings.lora and dict(settings.lora)
        arguments = {"args": dict(settings.args), "lora": lora, "device": self.checked.device, "seed": 0,
                     "scratch": scratch}  # fmt: skip
        self.steps.launcher.map([Job("settings", CHECK, arguments)])

    def _evaluation(self, model: Model, task: Any, form: str) -> Work:
        config = self.checked.config
        backend = config.evaluate.backend and config.evaluate.backend.model_dump()
        settings = {"task": task.fingerprint, "format": form, "batch_size": config.evaluate.batch_size,
                    "model": config.model, "backend": backend}  # fmt: skip
        step = Step("evaluate", settings, _model_inputs(model), None, self.checked.numerics)

        def arguments(claim: Claim) -> dict[str, Any]:
            return {
                **_model_job(model), "task": task.spec, "output": str(claim.output), "chat": form == "chat",
                "batch_size": config.evaluate.batch_size, "backend": backend,
                **_loading(config.model), "max_length": None,
                "device": self.checked.device, "threads": self.checked.threads,
                "seed": 0,  # all seeds of a study meet the same prompts
            }  # fmt: skip

        label = f"{model.name} {task.name}" + (" chat" if form == "chat" else "")
        return Work(
            label, f"{task.name} ({form})", step, EVALUATE, arguments, {"items": len(task.items or ())}
        )

    def _heldout(self, model: Model, dev: Rows) -> Work:
        config = self.checked.config
        step = Step("heldout", {"model": config.model}, {**_model_inputs(model), "examples": dev.digest},
                    None, self.checked.numerics)  # fmt: skip

        def arguments(claim: Claim) -> dict[str, Any]:
            return {
                **_model_job(model), "examples": str(dev.file), "output": str(claim.output),
                **_loading(config.model),
                "device": self.checked.device, "threads": self.checked.threads,
            }  # fmt: skip

        return Work(
            f"{model.name} held-out loss", f"{dev.count} rows", step, HELDOUT, arguments, {"rows": dev.count}
        )

    def _stop_after(self, stage: str) -> None:
        if self.until == stage:
            raise Stopped

    def _progress(self, label: str) -> Any:
        return lambda done, total=None: self.steps.display.update(label, done, total)


def model_digest(artifact: Artifact) -> str:
    """A digest of what the model is: weights, config, tokenizer - not its card or its loss curve."""
    files = {name: digest for name, digest in artifact.manifest["files"].items()
             if is_model_file(name) and name != "training.json"}  # fmt: skip
    return text_digest(canonical(files)) if files else artifact.digest


def _rows(name: str, artifact: Artifact, file: str, facts: dict[str, Any]) -> Rows:
    digest = artifact.manifest["files"].get(file, artifact.digest)
    return Rows(name, artifact.folder / file, digest, facts["rows"], facts["tokens"], facts["trained_tokens"])


def _model_inputs(model: Model) -> dict[str, str]:
    return {"model": model.digest, **({"base": model.base.digest} if model.adapter_of else {})}


def _loading(settings: dict[str, Any]) -> dict[str, Any]:
    """How evaluation loads a model: the run file's settings, but never quantised, as merging is not."""
    options = {name: value for name, value in settings.items() if name not in ("dtype", "quantization")}
    return {"dtype": settings.get("dtype", "auto"), "options": options}


def _model_job(model: Model) -> dict[str, Any]:
    adapter = str(model.folder) if model.adapter_of else None
    return {"model": str(model.base.folder), "adapter": adapter, "name": model.name}
