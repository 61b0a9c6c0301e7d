"""A warmed start: a short training on a seeded share of the rows, from which dispersing, sub-models and merging start.

MERIT (arXiv:2606.01717) takes gradients, and trains its branches, at a shared start that is "merge-ready": brought into
a flat basin by earlier stages of training. How much of what it takes, the text does not say; this is the plainest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dtm.foundations.seeds import derive
from dtm.foundations.store import Claim, Step
from dtm.foundations.types import Examples, Model
from dtm.pipeline import joining, picking, training
from dtm.pipeline.rows import Rows, rows_of
from dtm.pipeline.training import Training
from dtm.train import Settings

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

NAME = "warmup"


def warmed(run: Run, start: Model, examples: Rows, share: float, settings: Settings) -> Model:
    """A whole model: `start` after training on `share` of the rows."""
    rows = drawn(run, examples, share)
    return joining.materialise(run, training.train(run, [Training(run, NAME, rows, start, settings)])[0])


def drawn(run: Run, examples: Rows, share: float) -> Rows:
    """That share of the families, one at least, in the order in which the rows stand."""
    seed, waits = derive(run.seed, NAME), picking.waits(run, examples)
    whole = {"rows": examples.count, "tokens": examples.tokens, "trained_tokens": examples.trained_tokens}
    artifact = run.steps.make(
        "draw", f"{share:.1%} of the rows", Step("draw", {"share": share}, {"examples": examples.digest}, seed),
        lambda claim: _draw(examples.open(), share, seed, claim), heavy=waits,
        needs={name: max(1, round(share * count)) for name, count in whole.items()} if waits else {},
    )  # fmt: skip
    return rows_of(NAME, artifact, "rows.arrow", artifact.facts, NAME)


def _draw(examples: Examples, share: float, seed: int, claim: Claim) -> dict[str, Any]:
    import numpy as np

    from dtm.disperse.portions import units

    claim.empty()
    first_F, family_N = units(examples)
    chosen_F = np.zeros(len(first_F), bool)
    count = max(1, round(share * len(first_F)))
    chosen_F[np.random.default_rng(seed).permutation(len(first_F))[:count]] = True
    rows = examples.take(np.flatnonzero(chosen_F[family_N]))
    rows.save(claim.output / "rows.arrow")
    lengths, trained = rows.token_counts()
    return {"rows": len(rows), "tokens": int(lengths.sum()), "trained_tokens": int(trained.sum())}
