"""The verbs that recipes call on `run`: load, disperse, train, train_each, merge, evaluate, select and their kin.

A verb turns its arguments into a `Step` (what the result depends on) and a way to do it; `Steps` finds
the result in the store or does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

from dtm.foundations.errors import DataError, several
from dtm.foundations.files import canonical, text_digest
from dtm.foundations.models import convert_gguf, prepare_base
from dtm.foundations.seeds import derive
from dtm.foundations.store import Step
from dtm.foundations.types import Model
from dtm.pipeline import (
    building,
    check_disperse,
    choosing,
    evaluating,
    failing,
    joining,
    picking,
    proposal,
    signalling,
    training,
    warming,
)
from dtm.pipeline.checks import Checked
from dtm.pipeline.contamination import measure_overlap, to_drop
from dtm.pipeline.preference_verbs import PreferenceVerbs
from dtm.pipeline.row_verbs import RowVerbs
from dtm.pipeline.rows import Rows, model_digest, rows_of
from dtm.pipeline.sharing import Sharing
from dtm.pipeline.steps import Steps
from dtm.pipeline.training import Training
from dtm.train import Settings, check_settings


class Stopped(Exception):
    """The stage that the command asked for is done."""


@dataclass
class Run(RowVerbs, PreferenceVerbs):
    """One run: what was checked, how steps are done, and what they made.

    `making` is the name of the recipe that calls the verbs; `choices` are those made on dev, in order; `origin` is
    what the sub-models were trained from, `dropped` why, by name and rows, those failed that the run does without.
    """

    checked: Checked
    steps: Steps
    until: str = "evaluate"
    making: str = ""
    cards: dict[str, Any] = field(default_factory=dict)
    dev: Rows | None = None
    portions: list[Rows] = field(default_factory=list)
    submodels: list[Model] = field(default_factory=list)
    dropped: dict[tuple[str, str], str] = field(default_factory=dict)
    origin: Model | None = None
    choices: list[dict[str, Any]] = field(default_factory=list)
    augmented: list[dict[str, Any]] = field(default_factory=list)
    yields: list[dict[str, Any]] = field(default_factory=list)
    preferences: list[dict[str, Any]] = field(default_factory=list)
    meter: Any = None  # what language models were asked for in this run, under its caps
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
            settings = building.template_key(template)
            artifact = self.steps.make(
                "prepare base", "chat template and tokens",
                Step("prepare_base", settings, {"base": digest}),
                lambda claim: prepare_base(folder, claim, template=template),
            )  # fmt: skip
            self._base = Model("base", artifact.folder, model_digest(artifact), facts=dict(artifact.facts))
        return self._base

    def load(self, entries: Any) -> Rows:
        """Read, deduplicate, render, and curate as the run file says; the dev share stands in `self.dev`, uncurated."""
        config, base = self.checked.config, self.base()
        sources, digests = self.checked.sources, self.steps.store.digests
        prints = [source.fingerprint(digests) for source in sources]
        removed = self.checked.removed
        gone = {"removed": text_digest(canonical(sorted(removed)))} if removed else {}
        loaded = self.steps.make(
            "load", "reading the data",
            Step("load", {"entries": prints, **gone}, seed=derive(self.seed, "load"), version=2),
            lambda claim: building.load(sources, self.seed, claim, self.progress("load"), removed),
        )  # fmt: skip
        limit = self.checked.train.args["max_length"]
        settings = {"max_length": limit, "too_long": config.chat.too_long, "dev": config.dev.fraction}
        rows = loaded.manifest["files"]["examples.arrow"]
        inputs = {"examples": rows, "tokenizer": building.tokenizer_digest(base.folder, digests)}
        overlaps = measure_overlap(self, loaded)
        dropped = to_drop(self, overlaps)
        if overlaps and dropped:
            inputs["contaminated"] = overlaps.manifest["files"][dropped.name]
        rendered = self.steps.make(
            "render", "messages to tokens",
            Step("render", settings, inputs, derive(self.seed, "dev")),
            lambda claim: building.render(loaded.folder, base.folder, settings, derive(self.seed, "dev"), claim,
                                          self.progress("render"), dropped),
        )  # fmt: skip
        self.cards |= {"load": loaded, "render": rendered}
        if overlaps:
            self.cards["contamination"] = overlaps
        if rendered.facts["dev"]["rows"]:
            self.dev = rows_of("dev", rendered, "dev.arrow", rendered.facts["dev"])
        rows = rows_of("train", rendered, "train.arrow", rendered.facts["train"])
        return self.curate(config.curate, rows) if config.curate else rows

    def warm_up(self, section: Any, base: Any, examples: Rows, share: float) -> Model:
        """A model to start from: `base` after one pass over a seeded share of the rows."""
        steps = {"max_steps": -1} if "max_steps" in section.args else {}
        settings = self._settings(section.but(num_train_epochs=1, **steps))
        return warming.warmed(self, self._start(base), examples, share, settings)

    def disperse(self, section: Any, examples: Rows, base: Any = None) -> list[Rows]:
        """K portions of the examples; `base` is what sub-models will start from, where it is not the run's base."""
        if picking.waits(self, examples):
            return picking.planned_portions(self, section, examples)
        where, sharing, k = self.checked.file.where, Sharing.of(section), section.k
        bound = check_disperse.bind(section, where("disperse"))
        kept = self.checked.kept if section.keep else None
        if k != "auto" and k > examples.count:
            raise DataError(f"{examples.count} rows cannot fill {k} portions", where=where("disperse.k"),
                            mend=f"Set k to {examples.count} or less, or add data")  # fmt: skip
        start = self.base() if base is None else self._start(base)
        signals = signalling.gather(self, section, bound, examples, start)
        if k == "auto":
            self.cards[proposal.STEP] = proposal.proposed(self, section, bound, examples, signals)
            k = self.cards[proposal.STEP].facts["k"]
        settings: dict[str, Any] = {"k": k, **bound.key, **sharing.settings}
        inputs = {"examples": examples.digest, **signals.inputs}
        if kept is not None:
            settings["new"], inputs["kept"] = section.new, self.steps.store.digests.of(kept.file)
        place = building.Placing(bound, k, derive(self.seed, "disperse"), kept, section.new, where, sharing)
        needs = signalling.estimated(examples, k, sharing, place.seed) if signals.pending else {}
        step = Step("disperse", settings, inputs, place.seed, version=3)
        artifact = self.steps.make(
            "disperse", f"{bound.method.name} into {k} portions", step,
            lambda claim: building.disperse(place, examples.open(), signals.load(), signals.sampled(), claim),
            heavy=signals.pending, needs=needs,
        )  # fmt: skip
        self.cards["disperse"] = artifact
        lineage = artifact.facts.get("lineage", range(k))
        self.portions = [
            replace(rows_of(f"portion {index}", artifact, f"portion-{index}.arrow", facts, str(index)),
                    lineage=str(lineage[index]))
            for index, facts in enumerate(artifact.facts["each"])
        ]  # fmt: skip
        self._stop_after("disperse")
        return self.portions

    def train(
        self,
        section: Any,
        base: Any,
        examples: Rows,
        *,
        name: str = "vanilla_sft",
        checkpoints: int | Sequence[Fraction] = 0,
        variant: int = 0,
    ) -> Model:
        """One model on all the examples, from the run's base or from a model, whose adapter is merged first.

        `checkpoints` evenly spaced points of the run are kept, or those at such shares of its steps, the last being
        the model itself. A `variant`
        other than 0 draws another order of the rows.
        """
        self._stop_after("disperse")
        settings = self._settings(section)
        kept = checkpoints if isinstance(checkpoints, int) else tuple(checkpoints)
        one = Training(self, name, examples, self._start(base), settings, kept, variant)
        return training.train(self, [one])[0]

    def train_each(self, section: Any, base: Any, portions: Sequence[Rows]) -> list[Model]:
        """A sub-model for each portion, side by side on the launcher's workers."""
        self._stop_after("disperse")
        settings, start = self._settings(section), self._start(base)
        self.origin = start
        trained = training.train(
            self, [Training(self, failing.name_of(rows), rows, start, settings) for rows in portions]
        )
        known = {one.name for one in self.submodels}
        self.submodels += [model for model in trained if model.name not in known]
        return trained

    def merge(
        self,
        section: Any,
        base: Any,
        models: Sequence[Model],
        portions: Sequence[Rows] = (),
        *,
        name: str = "merged",
    ) -> Model:
        """The models' merge by a section such as `config.merge`, or `config.merge.using("wise_ft", alpha=0.3)`."""
        self._stop_after("train")
        section, portions = failing.kept_section(self, section, portions), failing.kept_rows(self, portions)
        return joining.merge(self, section, self._start(base), models, portions, name)

    def materialise(self, model: Model) -> Model:
        """The model as a whole one, its adapter merged into what it was trained on."""
        return joining.materialise(self, model)

    def update_norm(self, model: Model) -> float:
        """How far the model is from the run's base: the Euclidean norm over all weights, in fp64."""
        self._stop_after("train")
        return joining.update_norm(self, model)

    def ensemble(self, models: Sequence[Model], *, name: str) -> Model:
        """What answers with the mean of the models' next-token probabilities: it has no weights, only `parts`."""
        self._stop_after("train")
        return evaluating.together(models, evaluating.ENSEMBLE, name)

    def mean_score(self, models: Sequence[Model], *, name: str) -> Model:
        """What scores, on every item, the mean of the models' scores: it has no weights, only `parts`."""
        self._stop_after("train")
        return evaluating.together(models, evaluating.MEAN, name)

    def select(
        self, candidates: Sequence[Model], on: Literal["dev"] = "dev", *, name: str | None = None
    ) -> Model:
        """The best of the candidates on dev; of equals, the one that was named first."""
        return self.rank(candidates, on, name=name)[0]

    def rank(
        self, candidates: Sequence[Model], on: Literal["dev"] = "dev", *, name: str | None = None
    ) -> list[Model]:
        """The candidates, best on dev first: the mean over `dev.tasks`, or without any the held-out loss.

        `name` renames the best. The scores are told in results.json's `choices`.
        """
        if on != "dev":
            raise ValueError(f"choices are made on dev, not on {on!r}")
        self._stop_after("train")
        best, *others = choosing.rank(self, candidates)
        return [replace(best, name=name) if name else best, *others]

    def charge(self, model: Model, trainings: Sequence[Model]) -> Model:
        """The model, with the tokens and steps of all the trainings that it took to make and to choose it."""
        tokens, steps = (sum(getattr(one, what) for one in trainings) for what in ("tokens", "steps"))
        return replace(model, tokens=tokens, steps=steps)

    def evaluate(self, models: Sequence[Model]) -> evaluating.Evaluated:
        """Every model on every task in every format, and the held-out loss; by (model, task, format)."""
        return evaluating.evaluate(self, models)

    def dev_rows(self) -> Rows:
        """The rows kept from training; DataError where there are none, and something is to be chosen on them."""
        if self.dev is None:
            raise DataError("no row fell into the dev share, so there is nothing to choose on", where="dev.fraction",
                            mend="Raise dev.fraction, or name dev.tasks")  # fmt: skip
        return self.dev

    def progress(self, label: str) -> Any:
        """A callback `(done, total)` for the bar of that label."""
        return lambda done, total=None: self.steps.display.update(label, done, total)

    def _start(self, base: Any) -> Model:
        """The whole model that `base` means: the prepared base for the run file's, or a model of this run."""
        if isinstance(base, Model):
            return self.materialise(base)
        if base != self.checked.config.base:
            raise ValueError(f"{base!r} is neither a model nor the run's base")
        return self.base()

    def _settings(self, section: Any) -> Settings:
        where = self.checked.file.where
        settings, errors = check_settings(
            section.args, section.lora, section.same_adapter_init, where, section.regularise, section.dropout
        )
        if errors:
            raise several(errors)
        return settings

    def _stop_after(self, stage: str) -> None:
        if self.until == stage:
            raise Stopped
