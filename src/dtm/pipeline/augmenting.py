"""Augmenting as steps of the store: rows with variants of them, shares set aside, contrastive pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dtm.foundations.llm import Cache, Meter, Reply, Request, generate
from dtm.foundations.registry import registry
from dtm.foundations.seeds import derive
from dtm.foundations.store import Artifact, Step
from dtm.pipeline import asking as models
from dtm.pipeline import building, variants
from dtm.pipeline.preferring import Pairs, pairs_of
from dtm.pipeline.rows import Rows, rows_of
from dtm.sections import Augment

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

GUESSED = 1  # in planning: new rows a row


@dataclass(frozen=True)
class Augmented:
    """`rows` are the examples and `count` new ones; the artifact's folder holds files for other trainers too."""

    rows: Rows
    artifact: Artifact
    count: int


def augment(run: Run, section: Augment, examples: Rows, method: str, most: int | None) -> Augmented:
    """The examples with new rows made of them; at most so many, drawn by the seed."""
    known = registry("augment")[method].settings
    own = {name: value for name, value in section.own.items() if name in known or method == section.method}
    bound = registry("augment").bind(method, own, where=run.checked.file.where("augment"))
    base, seed, config = run.base(), derive(run.seed, "augment"), run.checked.config
    rendering = {"max_length": run.checked.train.args["max_length"], "too_long": config.chat.too_long}
    inputs = {"examples": examples.digest,
              "tokenizer": building.tokenizer_digest(base.folder, run.steps.store.digests)}  # fmt: skip
    label, asking = method, _Asking(run, method) if bound.settings.get("by") == "llm" else None
    settings = {**bound.key, **rendering, "most": most, **({"llm": asking.identity} if asking else {})}
    numerics = run.checked.numerics if asking and asking.llm.kind == "hf" else {}
    step = Step("augment", settings, inputs, seed, numerics)
    counts = {"rows": examples.count, "tokens": examples.tokens, "trained_tokens": examples.trained_tokens}
    guessed = {name: value * (1 + GUESSED) for name, value in counts.items()}
    artifact = run.steps.make(
        label, f"new rows of {examples.count:,}", step,
        lambda claim: variants.augment(bound, asking, examples.open(), base.folder, rendering, seed, most, claim,
                                       run.progress(label)),
        heavy=asking is not None or not examples.file.exists(),
        needs={**guessed, "made": examples.count * GUESSED, **(asking.needs if asking else {})},
    )  # fmt: skip
    if not artifact.pending:
        run.augmented.append({"for": run.making, "method": method, **artifact.facts["told"]})
        run.cards[f"augment:{method}"] = artifact
    return Augmented(
        rows_of(label, artifact, "train.arrow", artifact.facts), artifact, artifact.facts["made"]
    )


class _Asking:
    """`generate` for a method: the run's language model, its cache and its caps; counts what came of it."""

    needs = {"llm": "one question a row, and one a variant"}

    def __init__(self, run: Run, label: str) -> None:
        self.run, self.label, self.llm = run, label, models.section(run)
        self.backend, self.replies = models.backend_of(run), list[Reply]()
        run.meter = run.meter or Meter(self.llm)

    @property
    def identity(self) -> dict[str, Any]:
        return dict(self.backend.identity)

    def __call__(self, requests: Sequence[Request]) -> list[Reply]:
        replies = generate(
            requests, self.backend, self.llm, cache=Cache.of_store(self.run.steps.store.root), meter=self.run.meter,
            progress=self.run.progress(self.label),
            told=lambda needed: self.run.steps.display.note(f"{self.label}: {needed.words}"),
        )  # fmt: skip
        self.replies += replies
        return replies

    def close(self) -> dict[str, Any]:
        self.backend.close()
        return models.summary(self.replies, self.backend)


def set_aside(run: Run, examples: Rows, share: float) -> tuple[Rows, Rows]:
    """(rest, aside): whole families, drawn by the seed."""
    step = Step("set_aside", {"share": share}, {"examples": examples.digest}, derive(run.seed, "set_aside"))
    artifact = run.steps.make(
        "set aside", f"{100 * share:g} % of {examples.count:,} rows", step,
        lambda claim: variants.set_aside(examples.open(), share, derive(run.seed, "set_aside"), claim),
    )  # fmt: skip
    rest, aside = (
        rows_of(name, artifact, f"{name}.arrow", artifact.facts[name]) for name in ("rest", "aside")
    )
    return rest, aside


def with_more(run: Run, examples: Rows, more: Rows, count: int) -> Rows:
    """The examples and the first `count` of the others."""
    step = Step("with_more", {"count": count}, {"examples": examples.digest, "more": more.digest})
    artifact = run.steps.make(
        "more rows", f"{count:,} of {more.count:,}", step,
        lambda claim: variants.with_more(examples.open(), more.open(), count, claim),
    )  # fmt: skip
    return rows_of("with more", artifact, "train.arrow", artifact.facts)


def contrast(run: Run, augmented: Augmented) -> Pairs:
    """Pairs (x: y over y'; x': y' over y) of rows and their variants; those that both responses satisfy are dropped."""
    made = augmented.artifact
    step = Step("contrast", inputs={"augmented": made.digest})
    count = max(1, augmented.count)
    rows = augmented.rows
    needs = {"rows": 2 * count, "tokens": 4 * rows.tokens, "trained_tokens": 2 * rows.trained_tokens}
    artifact = run.steps.make(
        "contrasts", "pairs of rows and variants", step,
        lambda claim: variants.contrast(rows.file, claim), heavy=made.pending, needs=needs,
    )  # fmt: skip
    return pairs_of(run, "contrasts", "contrast", artifact)
