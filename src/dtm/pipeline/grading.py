"""How hard the rows are, and stages by that: scores and bins as steps of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dtm.foundations.errors import DataError
from dtm.foundations.llm import Reply
from dtm.foundations.scorers import bind_scorer, judge, rating
from dtm.foundations.seeds import derive
from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Examples, Model
from dtm.pipeline.asking import ask
from dtm.pipeline.picking import counted
from dtm.pipeline.rows import Rows, rows_of
from dtm.pipeline.steps import Work

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

PLACE = "dtm.foundations.signals"
SIGNALS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    # by what a scorer needs: the step's name, its worker's function, the step's label, what its key holds besides
    "loss": ("losses", f"{PLACE}.losses:losses", "base loss", {}),
    "alone": ("alone", f"{PLACE}.alone:alone", "base loss alone", {"version": 2}),
}
ASKED = {"judge": judge, "rating": rating}  # what a language model is asked, by what a scorer needs


@dataclass(frozen=True)
class Scores:
    """Scores of some rows, float64 [N] in the artifact's `scores.npy`, NaN where there is none."""

    scorer: str
    artifact: Artifact

    def load(self) -> Any:
        import numpy as np

        return np.load(self.artifact.folder / "scores.npy")


def score(run: Run, said: str | Mapping[str, Any], examples: Rows, *, place: str = "recipe.scorer") -> Scores:
    """The rows' scores, by a scorer with its settings; `place` is the key of the run file that names it."""
    where = run.checked.file.where(place)
    bound = bind_scorer(said, where=where)
    made = {name: signal(run, name, examples) for name in bound.method.needs if name != "tokens"}
    inputs = {"examples": examples.digest, **{f"signal {name}": one.digest for name, one in made.items()}}
    waits = any(one.pending for one in made.values())

    def build(claim: Claim) -> dict[str, Any]:
        import numpy as np

        claim.empty()
        rows = examples.open()
        given: dict[str, Any] = {name: np.load(one.folder / f"{name}.npy") for name, one in made.items()}
        if "tokens" in bound.method.needs:
            given["tokens"] = rows.token_counts()
        scores_N = bound(rows, **given)
        np.save(claim.output / "scores.npy", scores_N)
        return _described(rows, scores_N, where)

    step = Step("score", bound.key, inputs)
    label = f"score by {bound.method.name}"
    artifact = run.steps.make(label, f"{examples.count:,} rows", step, build, heavy=waits,
                              needs={"rows": examples.count} if waits else {})  # fmt: skip
    return Scores(bound.method.name, artifact)


def stages(
    run: Run,
    examples: Rows,
    scores: Scores,
    *,
    cuts: Sequence[float] | None = None,
    quantiles: Sequence[float] | None = None,
    at_random: bool = False,
) -> list[Rows]:
    """The rows in bins, the easiest first: below, between and from the `cuts` on, or by `quantiles` of the rows.

    A score that equals a cut is above it. `at_random` deals the same rows, without regard to their scores, to stages
    of the same sizes. Rows without a score stand in no stage, and are counted. Raises DataError for an empty stage.
    """
    by: dict[str, Any] = {"cuts": list(cuts)} if cuts is not None else {"quantiles": list(quantiles or ())}
    count = len(next(iter(by.values()))) + 1
    seed = derive(run.seed, "stages")
    waits = scores.artifact.pending

    def build(claim: Claim) -> dict[str, Any]:
        import numpy as np

        claim.empty()
        rows, scores_N = examples.open(), scores.load()
        stage_N = binned(scores_N, seed=seed, at_random=at_random, **by)
        each = []
        for number in range(count):
            part = rows.take(np.flatnonzero(stage_N == number))
            if not len(part):
                raise DataError(f"no row falls into stage {number + 1} of {count}: scores by {scores.scorer} go "
                                f"from {np.nanmin(scores_N):.4g} to {np.nanmax(scores_N):.4g}",
                                where=run.checked.file.where("recipe.cuts"))  # fmt: skip
            part.save(claim.output / f"stage-{number}.arrow")
            own_N = scores_N[stage_N == number]
            each.append({**counted(part), "least": float(own_N.min()), "most": float(own_N.max())})
        _write_stages(claim, rows, scores_N, stage_N)
        return {
            "scorer": scores.scorer,
            "each": each,
            "unscored": int((stage_N < 0).sum()),
            "at_random": at_random,
        }

    settings = {**by, "at_random": at_random}
    step = Step("stages", settings, {"examples": examples.digest, "scores": scores.artifact.digest}, seed)
    needs = {"rows": examples.count, "each": _guess(examples, count)} if waits else {}
    what = f"{count} by {scores.scorer}"
    artifact = run.steps.make("stages", what, step, build, heavy=waits, needs=needs)
    run.cards["stages"] = artifact
    return [
        rows_of(f"stage {number + 1}", artifact, f"stage-{number}.arrow", facts, f"stage-{number + 1}")
        for number, facts in enumerate(artifact.facts["each"])
    ]


def binned(
    scores_N: Any,
    *,
    cuts: Sequence[float] | None = None,
    quantiles: Sequence[float] | None = None,
    seed: int,
    at_random: bool,
) -> Any:
    """The stage of each row, int64 [N] from 0, or -1 without a score; equal scores are parted by a seeded draw."""
    import numpy as np

    scored = np.flatnonzero(np.isfinite(scores_N))
    stage_N = np.full(len(scores_N), -1, np.int64)
    draw = np.random.default_rng(seed).permutation(len(scored))
    if cuts is not None:
        stage_N[scored] = np.searchsorted(np.asarray(cuts), scores_N[scored], side="right")
    else:
        rank = np.empty(len(scored), np.int64)
        rank[np.lexsort((draw, scores_N[scored]))] = np.arange(len(scored))
        edges = np.round(np.asarray(quantiles) * len(scored))
        stage_N[scored] = np.searchsorted(edges, rank, side="right")
    if at_random:
        stage_N[scored] = stage_N[scored][draw]
    return stage_N


def notes(cards: Mapping[str, Any]) -> list[str]:
    """What results.json says of stages, in a sentence."""
    artifact = cards.get("stages")
    if artifact is None or artifact.pending:
        return []
    facts = artifact.facts
    how = "at random, in sizes" if facts["at_random"] else "by difficulty"
    each = "; ".join(
        f"stage {number} has {one['rows']:,} rows of {one['least']:.3g} to {one['most']:.3g}"
        for number, one in enumerate(facts["each"], 1)
    )
    words = [f"Stages are {how} as {facts['scorer']} scores it: {each}."]
    if facts["unscored"]:
        words.append(f"{facts['unscored']:,} rows have no score, and were trained on in no stage.")
    return words


def signal(run: Run, name: str, examples: Rows, model: Model | None = None) -> Artifact:
    """What a scorer needs, found or made, in `NAME.npy`; of the base, or of a `model` that rows are rendered for."""
    if name in ASKED:
        asked = ASKED[name]
        step = Step(name, {"prompt": asked.VERSION}, {"examples": examples.digest})
        return ask(run, name, f"{examples.count:,} rows", step, lambda: asked.requests(examples.open()),
                   lambda claim, replies: _write_grades(claim, name, replies))  # fmt: skip
    checked, base = run.checked, model or run.base()
    step_name, function, label, more = SIGNALS[name]
    options = {
        key: value for key, value in checked.config.model.items() if key not in ("dtype", "quantization")
    }
    inputs = {"base": base.digest, "examples": examples.digest}
    step = Step(step_name, {"model": options, **more}, inputs, None, checked.numerics)

    def arguments(claim: Claim) -> dict[str, Any]:
        return {
            "model": str(base.folder), "examples": str(examples.file), "options": options, "seed": None,
            "output": str(claim.output), "scratch": str(claim.scratch), "device": checked.device,
            "threads": checked.threads,
        }  # fmt: skip

    label = label if model is None else label.replace("base", model.name)
    work = Work(label, f"{examples.count:,} rows", step, function, arguments, {"rows": examples.count})
    return run.steps.make_all([work])[0]


def _write_grades(claim: Claim, name: str, replies: Sequence[Reply]) -> dict[str, Any]:
    import numpy as np

    grades_N2 = np.array([
        one.value.numbers if one.ok else (np.nan, np.nan) for one in replies
    ])  # fmt: skip
    np.save(claim.output / f"{name}.npy", grades_N2)
    return {"rows": len(replies)}


def _described(rows: Examples, scores_N: Any, where: Any) -> dict[str, Any]:
    import numpy as np

    found = scores_N[np.isfinite(scores_N)]
    if not len(found):
        raise DataError(f"not one of {len(rows)} rows could be scored", where=where,
                        mend="Does the field stand in the data, and is it a number?")  # fmt: skip
    tenths = np.quantile(found, np.linspace(0, 1, 11))
    return {"rows": len(rows), "unscored": len(rows) - len(found), "tenths": [float(one) for one in tenths]}


def _write_stages(claim: Claim, rows: Examples, scores_N: Any, stage_N: Any) -> None:
    """stages.csv: each row's score and stage, from 1; empty for neither."""
    import math

    with open(claim.output / "stages.csv", "w", encoding="utf-8") as file:
        file.write("id,source,score,stage\n")
        for name, source, value, stage in zip(
            rows.column("id"), rows.column("source"), scores_N.tolist(), stage_N.tolist(), strict=True
        ):
            told = "," if not math.isfinite(value) else f"{value!r},{stage + 1}"
            file.write(f'{name},"{source}",{told}\n')


def _guess(examples: Rows, count: int) -> list[dict[str, int]]:
    """In planning: stages of equal size."""
    whole = {"rows": examples.count, "tokens": examples.tokens, "trained_tokens": examples.trained_tokens}
    return [{name: total // count for name, total in whole.items()} for _ in range(count)]
