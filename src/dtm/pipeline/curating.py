"""Curating as a step of the store: which rows are trained on, and the others set aside, each with its reason."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dtm.curate
from dtm.foundations.errors import DataError, ModelError
from dtm.foundations.files import canonical
from dtm.foundations.models import convert_gguf, locate, prepare_base
from dtm.foundations.registry import Bound
from dtm.foundations.seeds import derive
from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Examples, Model
from dtm.pipeline import building, grading, picking, signalling
from dtm.pipeline.check_curate import bind
from dtm.pipeline.picking import counted
from dtm.pipeline.rows import Rows, model_digest, rows_of
from dtm.sections import Curate

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

STEP = "curate"
KEPT, ASIDE, TABLE = "train.arrow", "set_aside.jsonl", "curation.csv"


@dataclass(frozen=True)
class Curation:
    """One choice: by what, out of which rows of which sources, and how many."""

    bound: Bound
    sources: tuple[str, ...]
    count: int | None
    seed: int

    def __call__(self, examples: Examples, signals: Mapping[str, Any]) -> tuple[Any, Any]:
        """The numbers of the rows that were chosen among, and the choice."""
        import numpy as np

        among = np.arange(len(examples))
        if self.sources:
            among = np.flatnonzero(np.isin(np.array(examples.column("source"), dtype=str), self.sources))
        return among, self.bound(examples.take(among), self.count, self.seed, **signals)


def curate(run: Run, section: Curate, examples: Rows) -> Rows:
    """The rows that the section's method keeps, in their order, with all rows of sources that it does not name."""
    bound, where = bind(section, run.checked.file.where), run.checked.file.where
    own = (
        picking.of_sources(run, examples, section.sources, "curated sources") if section.sources else examples
    )
    count = dtm.curate.count_of(section.rows, section.fraction, own.count, where("curate.rows"))
    made = _signals(run, section, bound, own)
    curation = Curation(bound, tuple(sorted(set(section.sources))), count, derive(run.seed, STEP))
    settings = {**bound.key, "count": count, "sources": list(curation.sources)}
    inputs = {"examples": examples.digest, **{f"signal {name}": one.digest for name, one in made.items()}}
    step = Step(STEP, settings, inputs, curation.seed)
    waits = any(one.pending for one in made.values())
    what = f"{bound.method.name}, {own.count if count is None else count:,} of {own.count:,} rows"
    artifact = run.steps.make(
        STEP, what, step, lambda claim: _build(curation, examples.open(), _loaded(made, own), claim),
        heavy=waits, needs=_guess(examples, own, count),
    )  # fmt: skip
    run.cards[STEP] = artifact
    return rows_of("train", artifact, KEPT, artifact.facts)


def card(cards: Mapping[str, Any]) -> dict[str, Any]:
    """What `data.curation` in results.json holds."""
    artifact = cards.get(STEP)
    if artifact is None or artifact.pending:
        return {}
    names = ("method", "read", "rows", "reasons", "sources", "least", "most")
    return {name: artifact.facts[name] for name in names}


def notes(found: Mapping[str, Any]) -> list[str]:
    """What a reader of the scores must know of it."""
    if not found:
        return []
    scores = "" if found["least"] is None else f", with scores of {found['least']:.3g} to {found['most']:.3g}"
    reasons = "; ".join(f"{reason}: {count:,}" for reason, count in sorted(found["reasons"].items()))
    aside = f" The others are in curation/{ASIDE} ({reasons})." if reasons else ""
    return [
        f"Trained on {found['rows']:,} of {found['read']:,} rows, chosen by {found['method']}{scores}.{aside}"
    ]


def _signals(run: Run, section: Curate, bound: Bound, rows: Rows) -> dict[str, Artifact]:
    """What the method needs of the rows, by name: of the base, or of the section's model."""
    scorers = dict(bound.method.properties.get("scorers", {}))
    made: dict[str, Artifact] = {}
    model, own = None, rows
    if section.model is not None:
        model = _model(run, section.model)
        own = _rendered(run, rows, model)
    for name in bound.method.needs:
        if name in scorers:
            said: Any = section.own.get(name, scorers[name])
            made[name] = grading.score(run, said, rows, place=f"curate.{name}").artifact
        elif name == "embedding":
            made[name] = signalling.embedded(run, section, rows)
        elif name != "tokens":
            made[name] = grading.signal(run, name, own, model)
    return made


def _loaded(made: Mapping[str, Artifact], rows: Rows) -> Callable[[Bound], dict[str, Any]]:
    """A function that opens what a method needs."""
    import numpy as np

    def load(bound: Bound) -> dict[str, Any]:
        names = {
            name: "scores" if name in bound.method.properties.get("scorers", {}) else name for name in made
        }
        found: dict[str, Any] = {
            name: np.load(made[name].folder / f"{file}.npy", mmap_mode="r") for name, file in names.items()
        }
        return found | ({"tokens": rows.open().token_counts()} if "tokens" in bound.method.needs else {})

    return load


def _model(run: Run, name: str) -> Model:
    """The model that measures rows, with a chat template: its own, or as the run's base got one."""
    found = locate(name, run.checked.file.root, where=run.checked.file.where("curate.model"))
    folder, digest = found.path, found.digest(run.steps.store.digests)
    if found.kind == "gguf":
        made = run.steps.make(
            "convert scorer", f"reading {found.path.name}", Step("convert_gguf", inputs={"gguf": digest}),
            lambda claim: convert_gguf(found.path, claim),
        )  # fmt: skip
        folder, digest = made.folder, model_digest(made)
    template = run.checked.template(building.own_template(folder))
    prepared = run.steps.make(
        "prepare scorer", "chat template and tokens",
        Step("prepare_base", building.template_key(template), {"base": digest}),
        lambda claim: prepare_base(folder, claim, template=template),
    )  # fmt: skip
    return Model("scorer", prepared.folder, model_digest(prepared))


def _rendered(run: Run, rows: Rows, model: Model) -> Rows:
    """The same rows, in the tokens of the model that measures them."""
    inputs = {"examples": rows.digest,
              "tokenizer": building.tokenizer_digest(model.folder, run.steps.store.digests)}  # fmt: skip
    artifact = run.steps.make(
        "render for scorer", f"{rows.count:,} rows", Step("render_again", {}, inputs),
        lambda claim: _render_again(rows.open(), model, claim),
    )  # fmt: skip
    return rows_of("for the scorer", artifact, KEPT, artifact.facts)


def _render_again(examples: Examples, model: Model, claim: Claim) -> dict[str, Any]:
    from dtm.foundations.chat import Unusable
    from dtm.foundations.signals.alone import rendered_by

    claim.empty()
    try:
        again = rendered_by(examples, str(model.folder))
    except Unusable as reason:
        raise ModelError(f"its chat template cannot render a row: {reason}", where="curate.model") from None
    again.save(claim.output / KEPT)
    return counted(again)


def _build(
    curation: Curation, examples: Examples, load: Callable[[Bound], dict[str, Any]], claim: Claim
) -> dict[str, Any]:
    """train.arrow, set_aside.jsonl with whole rows, curation.csv with a line for each row that was chosen among."""
    import numpy as np

    claim.empty()
    among, choice = curation(examples, load(curation.bound))
    kept_N = np.ones(len(examples), bool)
    kept_N[among] = choice.kept_N
    rows = examples.take(np.flatnonzero(kept_N))
    if not len(rows):
        why = "; ".join(
            f"{count:,}: {reason}" for reason, count in Counter(choice.reason_N.tolist()).most_common(3)
        )
        raise DataError(f"{curation.bound.method.name} keeps none of {len(among):,} rows ({why})", where="curate",
                        mend="Choose another method, or settings that let some pass")  # fmt: skip
    rows.save(claim.output / KEPT)
    chosen = examples.take(among)
    reasons = Counter(reason.split(" (")[0] for reason in choice.reason_N.tolist() if reason)
    scores = [None] * len(among) if choice.score_N is None else choice.score_N.tolist()
    _write(claim, chosen, choice, [one if one is not None and np.isfinite(one) else None for one in scores])
    own = [
        one
        for one, kept in zip(scores, choice.kept_N, strict=True)
        if kept and one is not None and np.isfinite(one)
    ]
    was, now = (Counter(one.column("source")) for one in (examples, rows))
    return {
        **counted(rows), "read": len(examples), "method": curation.bound.method.name, "reasons": dict(reasons),
        "sources": {name: {"read": count, "rows": now[name]} for name, count in sorted(was.items())},
        "least": min(own, default=None), "most": max(own, default=None),
    }  # fmt: skip


def _write(claim: Claim, rows: Examples, choice: Any, scores: list[float | None]) -> None:
    told = zip(rows.rows(), scores, choice.kept_N.tolist(), choice.reason_N.tolist(), strict=True)
    with (
        open(claim.output / TABLE, "w", encoding="utf-8", newline="") as table,
        open(claim.output / ASIDE, "w", encoding="utf-8") as aside,
    ):
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["id", "source", "score", "kept", "reason"])
        for row, score, kept, reason in told:
            writer.writerow(
                [row["id"], row["source"], "" if score is None else repr(score), int(kept), reason]
            )
            if not kept:
                meta = json.loads(row["meta"]) if row["meta"] else {}
                record = {"id": row["id"], "source": row["source"], "score": score, "reason": reason,
                          "messages": row["messages"], "meta": meta}  # fmt: skip
                aside.write(canonical(record) + "\n")


def _guess(examples: Rows, own: Rows, count: int | None) -> dict[str, int]:
    """In planning: as many rows as are asked for, of mean length."""
    kept = examples.count - own.count + (own.count if count is None else count)
    share = kept / max(1, examples.count)
    return {"rows": kept, "tokens": round(share * examples.tokens),
            "trained_tokens": round(share * examples.trained_tokens)}  # fmt: skip
