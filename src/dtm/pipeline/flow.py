"""`dtm.run`: the whole flow on one page - check, recipe, baselines, evaluation, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dtm.config import RunFile, read
from dtm.foundations.files import write_json
from dtm.foundations.launch import Launcher, signals
from dtm.foundations.mirror import open_store
from dtm.pipeline import folder
from dtm.pipeline.checks import check
from dtm.pipeline.display import Display
from dtm.pipeline.evaluating import DevScore, dev_scores
from dtm.pipeline.launching import same_places
from dtm.pipeline.made import Made
from dtm.pipeline.mirroring import RunMirror
from dtm.pipeline.origin import placed, remember
from dtm.pipeline.plan import plan
from dtm.pipeline.results import assemble
from dtm.pipeline.steps import Steps
from dtm.pipeline.training import WARM
from dtm.pipeline.verbs import Run, Stopped

STAGES = ("disperse", "train", "merge", "evaluate")


@signals.caught()
def run(
    source: Path | str | Mapping[str, Any] | RunFile,
    settings: Sequence[str] = (),
    *,
    until: str = "evaluate",
    dry_run: bool = False,
    probe: bool = False,
    quiet: bool = False,
    command: str = "",
    launcher: Launcher | None = None,
) -> dict[str, Any]:
    """Do what a run file says, reusing whatever the store holds, and return the content of results.json.

    `settings` are `key=value` overrides; `until` stops after that stage; `dry_run` returns the plan
    instead, with training speed measured if `probe`. A `launcher` stays open, its workers warm for the
    caller's next run; its share must be the run's. Raises DtmError for a user's mistake, before work. At SIGINT or
    SIGTERM trainings write a checkpoint, and `signals.Stopped`, a KeyboardInterrupt, is raised; a second one leaves
    at once.
    """
    file = source if isinstance(source, RunFile) else placed(read(source, settings))
    checked = check(file)
    if launcher is not None:
        same_places(launcher, checked.launch, file.where)
    store = open_store(file.store)
    display = Display(None if dry_run else file.output_dir, quiet=quiet)
    mirror = RunMirror.of(file, store, display.note)
    if not dry_run or not (file.output_dir / "run.yaml").exists():  # what was run is not what was planned
        folder.open_folder(
            file.output_dir, file.document.text, checked.config.model_dump(mode="json"), store.root
        )
        remember(file)
    kept = launcher is not None
    launcher = launcher or checked.launch.open(file.output_dir / "workers.log")
    store.tell = display.note
    told = {"recipe": checked.recipe.method.name, "until": until, "launch": checked.launch.kind}
    if not dry_run:
        mirror.start(display.note)
    try:
        with display.working(command, workers=launcher.workers, **told):
            steps = Steps(store, launcher, display, planning=dry_run, folder=file.output_dir, command=command)
            if STAGES.index(until) >= STAGES.index("train"):
                steps.warm = WARM
            this = Run(checked, steps, until=until)
            made = _make(this)
            evaluated = this.evaluate(made.wanted(checked)) if until == STAGES[-1] else {}
            on_dev = _on_dev(this, made) if until == STAGES[-1] and checked.config.evaluate.dev else {}
            if dry_run:
                return plan(this, probe=probe)
            display.close()
            results = _finish(this, made, evaluated, on_dev, command)
        mirror.push_all()
        return results
    finally:
        mirror.stop()
        if not kept:
            launcher.close()


def _make(this: Run) -> Made:
    """What the recipe made, then its baselines; what stands in the run folder besides is the recipe's own."""
    checked, config = this.checked, this.checked.config
    made = Made(this.base())
    try:
        this.making = checked.recipe.method.name
        made.final = checked.recipe(this, config)
        own = this.cards.copy(), list(this.portions), list(this.submodels)
        made.submodels = own[2]
        for baseline in checked.baselines:
            this.making = baseline.method.name
            made.baselines.append(replace(baseline(this, config), name=this.making))
        this.cards, this.portions, this.submodels = own
    except Stopped:
        made.submodels = this.submodels
    return made


def _on_dev(this: Run, made: Made) -> dict[str, DevScore]:
    """The scores on dev of all models that were evaluated but sub-models, by name; empty in planning."""
    models = made.finished(this.checked)
    scores = dev_scores(this, models) or []
    return {model.name: score for model, score in zip(models, scores, strict=bool(scores))}


def _finish(this: Run, made: Made, evaluated: Any, on_dev: Any, command: str) -> dict[str, Any]:
    """Readable names, results.json, report.html; `steps.json` last, for the next plan."""
    from dtm.pipeline.attribute import attached
    from dtm.report import render

    models = made.shown(this.checked)
    with folder.alone(this.steps.folder, this.steps.store.root):
        folder.show_data(this)
        folder.show_models(this, models)
        folder.show_evaluation(this, evaluated)
        results = assemble(this, models, evaluated, on_dev, command=command)
        results = attached(results, this.steps.folder)
        write_json(this.steps.folder / "results.json", results)
        render(results, this.steps.folder)
    this.steps.save(whole=this.until == STAGES[-1])
    return results
