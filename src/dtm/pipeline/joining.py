"""Merging as steps of the store: any models of a run, by any section of the run file or of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dtm.config import Merge, Search
from dtm.foundations.launch import Event, Job
from dtm.foundations.mirror import MirroredStore
from dtm.foundations.registry import registry
from dtm.foundations.seeds import derive
from dtm.foundations.store import Claim, Step
from dtm.foundations.types import Model
from dtm.pipeline import building, norms, weighing
from dtm.pipeline.estimates import merge_needs
from dtm.pipeline.rows import Rows, model_digest
from dtm.pipeline.weighing import Merging

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

RANGE = "dtm.merge.ranges:merge_range"


def merge(
    run: Run, section: Merge, base: Model, models: Sequence[Model], portions: Sequence[Rows], name: str
) -> Model:
    """The models' merge into `base`, a whole model; `facts["merge"]` says how it was made.

    `portions` are the models' own rows, for weights by their count and for statistics.
    """
    bound = registry("merge").bind(section.method, section.own, where=run.checked.file.where("merge"))
    whole = [model if _sits_on(model, base) else materialise(run, model) for model in models]
    merging = weighing.gather(run, Merging(section, bound, base, tuple(whole)), portions)
    search: dict[str, Any] = {}
    if isinstance(section.weights, Search):
        weights, search = weighing.searched(run, section.weights, merging)
    else:
        weights = weighing.weights_of(section.weights, portions, len(models))
    made = _merged(run, merging, weights, name)
    card = {**merging.settings, "weights": weights, "paper": bound.method.paper, **made.facts,
            "models": [model.name for model in whole]}  # fmt: skip
    facts = {"merge": {**card, "search": search} if search else card}
    tokens, steps = (_spent(base, models, what) for what in ("tokens", "steps"))
    return Model(
        name, made.folder, model_digest(made), adapter_of=base if section.export == "adapter" else None,
        tokens=tokens, steps=steps, facts=facts,
    )  # fmt: skip


def _spent(base: Model, models: Sequence[Model], what: str) -> int:
    """Tokens or steps of all trainings: what made the base, from which all models started, counts once."""
    shared = getattr(base, what)
    return shared + sum(getattr(model, what) - shared for model in models)


def materialise(run: Run, model: Model) -> Model:
    """The model as a whole one: its adapter, if it is one, merged into what it was trained on."""
    if model.adapter_of is None:
        return model
    section = run.checked.config.merge.using("linear")
    bound = registry("merge").bind("linear", {})
    merging = Merging(section, bound, materialise(run, model.adapter_of), (model,))
    made = _merged(run, merging, [1.0], model.name)
    return Model(model.name, made.folder, model_digest(made), tokens=model.tokens, steps=model.steps)


def update_norm(run: Run, model: Model) -> float:
    """The Euclidean norm of the model's update of the run's base; 1 in planning, where it is not known yet."""
    base, model = run.base(), model if _sits_on(model, run.base()) else materialise(run, model)
    step = Step("update_norm", inputs={"base": base.digest, "model": model.digest})
    made = run.steps.make(
        f"norm of {model.name}", "distance from the base", step,
        lambda claim: {"norm": norms.update_norm(base.folder, model.folder)}, heavy=True,
    )  # fmt: skip
    return made.facts.get("norm", 1.0)


def _sits_on(model: Model, base: Model) -> bool:
    """Whether the model can be merged into `base` as it stands: a whole one, or an adapter of that very base."""
    return model.adapter_of is None or model.adapter_of.digest == base.digest


def _merged(run: Run, merging: Merging, weights: list[float], name: str) -> Any:
    section, seed = merging.section, derive(run.seed, "merge")
    label = "merge" if name == "merged" else f"merge {name}"
    count, device = len(merging.models), merging.device(run.checked.device)
    return run.steps.make(
        label, f"{merging.bound.method.name} of {count} model{'s' if count > 1 else ''}",
        Step("merge", {**merging.settings, "weights": weights}, merging.inputs, seed, {"device": device}, version=4),
        lambda claim: _build(run, merging, weights, seed, claim, label),
        heavy=True, needs=merge_needs(merging.base, section.export) if run.steps.planning else {},
    )  # fmt: skip


def _build(
    run: Run, merging: Merging, weights: list[float], seed: int, claim: Claim, label: str
) -> dict[str, Any]:
    """The merged folder; a model in several files is written by the workers first, a range of them each."""
    building.resume_merge(claim)
    here = run.checked.launch.kind == "local" or not isinstance(run.steps.store, MirroredStore)
    if (
        here and run.steps.launcher.workers > 1
    ):  # ranges are written into one folder, which other machines may lack
        _spread(run, merging, weights, seed, claim, label)
    return building.merge(run.checked, merging, weights, seed, claim, run.progress(label))


def _spread(run: Run, merging: Merging, weights: list[float], seed: int, claim: Claim, label: str) -> None:
    """Let the workers write what can be parted; the bytes are those that this process would write."""
    from dtm.merge.ranges import plan_of, ranges, unwritten

    job = {**merging.job(run), "weights": weights, "export": merging.section.export, "seed": seed}
    plan = plan_of(job)
    if len(ranges(plan)) < 2:
        return
    own = {"output": str(claim.output), "inspect": building.inspected(merging)}
    jobs = [
        Job(f"{label}, {names[0]}", RANGE, {**job, **own, "shards": names}, f"{claim.job_lock}.{names[0]}")
        for names in unwritten(plan, claim.output, seed)
    ]
    done = dict.fromkeys((one.name for one in jobs), 0)

    def on_event(event: Event) -> None:
        if event.kind == "progress":
            done[event.job.name] = event.data["done"]
            run.steps.display.update(label, sum(done.values()), None)
        elif event.kind != "done":
            run.steps.display.event(event)

    run.steps.launcher.map(jobs, on_event=on_event)
