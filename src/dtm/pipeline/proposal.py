"""`disperse: {k: auto}`: the number of portions as a step of the store, and what must know it before any work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dtm.config import RunFile, Search
from dtm.disperse.proposing import LEAST, MOST, STEPS, usual_of
from dtm.foundations.errors import ConfigError, DtmError
from dtm.foundations.files import write_json
from dtm.foundations.registry import Bound
from dtm.foundations.seeds import derive
from dtm.foundations.store import Artifact, Claim, Step
from dtm.pipeline.rows import Rows
from dtm.pipeline.sharing import Sharing, without
from dtm.pipeline.signalling import Signals
from dtm.train import Settings, steps_of

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

STEP = "propose_k"
PACE = ("num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "max_steps")


def proposed(run: Run, section: Any, bound: Bound, examples: Rows, signals: Signals) -> Artifact:
    """`k` and why, as facts; in planning, where signals of the base are still to be computed, the usual K."""
    sharing, train, seed = Sharing.of(section), run.checked.train, derive(run.seed, "disperse")
    settings = {**bound.key, **sharing.settings, "pace": {name: train.args.get(name) for name in PACE}}
    step = Step(STEP, settings, {"examples": examples.digest, **signals.inputs}, seed)
    guess = {"k": usual_of(bound), "why": [], "rows": examples.count}
    return run.steps.make(
        "number of portions", "k: auto", step,
        lambda claim: _propose(bound, examples, signals, sharing, train, seed, claim),
        heavy=signals.pending, needs=guess if signals.pending else {},
    )  # fmt: skip


def _propose(
    bound: Bound, examples: Rows, signals: Signals, sharing: Sharing, train: Settings, seed: int, claim: Claim
) -> dict[str, Any]:
    from dtm.disperse.proposing import propose

    claim.empty()
    opened = examples.open()
    aside_N = sharing.replayed(opened, seed)
    every = int(aside_N.sum())
    rest, _, _, arrays = without(aside_N, opened, 0, seed, signals.load())

    def steps(rows: int) -> int:
        return steps_of(train, rows + round(sharing.overlap * rows) + every)

    found = propose(bound, rest, seed, arrays, steps, fixed=int(train.args.get("max_steps") or -1) > 0)
    write_json(claim.output / "proposal.json", found)
    return found


def told(cards: Mapping[str, Artifact]) -> dict[str, Any] | None:
    """What results.json says of the proposal; None where the run file gave K."""
    artifact = cards.get(STEP)
    if artifact is None:
        return None
    facts, pending = artifact.facts, {"pending": True} if artifact.pending else {}
    return {"least": LEAST, "most": MOST, "least_steps": STEPS, **pending,
            **{name: facts.get(name) for name in ("k", "why", "starved", "usual", "candidates")}}  # fmt: skip


def check_auto(file: RunFile, merge: Bound | None) -> list[DtmError]:
    """What asks for a number of portions that is known before the data is read."""
    from dtm.pipeline.search import least_budget

    config, where = file.config, file.where
    if config.disperse.k != "auto":
        return []
    errors: list[DtmError] = []
    weights = config.merge.weights
    if isinstance(weights, list):
        errors.append(ConfigError(
            f"with `k: auto` it is not known yet how many sub-models these {len(weights)} weights are for",
            where=where("merge.weights"),
            mend=f"Set disperse.k to {len(weights)}, or weights to uniform, tokens or rows",
        ))  # fmt: skip
    elif isinstance(weights, Search) and weights.budget < least_budget(MOST):
        errors.append(ConfigError(
            f"`k: auto` may propose {MOST} portions, for which {weights.budget} candidates are too few",
            where=where("merge.weights.budget"), mend=f"Give at least {least_budget(MOST)}, or a number for disperse.k",
        ))  # fmt: skip
    least, most = merge.method.properties.get("models", (1, None)) if merge else (1, None)
    if merge and (least > LEAST or (most is not None and most < MOST)):
        takes = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        errors.append(ConfigError(
            f"{merge.method.name!r} merges {takes} models, and `k: auto` may propose {LEAST} to {MOST}",
            where=where("disperse.k"), mend=f"Set k to {least}",
        ))  # fmt: skip
    return errors
