"""`dtm.run`: the whole flow on one page - check, recipe, baselines, evaluation, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dtm.config import RunFile, read
from dtm.foundations.errors import ConfigError
from dtm.foundations.files import write_json
from dtm.foundations.launch import LocalLauncher
from dtm.foundations.store import Store
from dtm.foundations.types import Model
from dtm.pipeline import folder
from dtm.pipeline.checks import check
from dtm.pipeline.display import Display
from dtm.pipeline.origin import remember
from dtm.pipeline.plan import plan
from dtm.pipeline.results import assemble
from dtm.pipeline.steps import Steps
from dtm.pipeline.verbs import Run, Stopped

STAGES = ("disperse", "train", "merge", "evaluate")


def run(
    source: Path | str | Mapping[str, Any] | RunFile,
    settings: Sequence[str] = (),
    *,
    until: str = "evaluate",
    dry_run: bool = False,
    probe: bool = False,
    quiet: bool = False,
    command: str = "",
    launcher: LocalLauncher | None = None,
) -> dict[str, Any]:
    """Do what a run file says, reusing whatever the store holds, and return the content of results.json.

    `settings` are `key=value` overrides; `until` stops after that stage; `dry_run` returns the plan
    instead, with training speed measured if `probe`. A `launcher` stays open, its workers warm for the
    caller's next run; its threads must be the run's. Raises DtmError for a user's mistake, before work.
    """
    file = source if isinstance(source, RunFile) else read(source, settings)
    checked = check(file)
    if launcher is not None and launcher.threads != checked.threads:
        raise ConfigError(
            f"the workers that are kept have {launcher.threads} threads, and this run wants {checked.threads}",
            where=file.where("launch.threads"), mend=f"Set launch.threads to {launcher.threads}",
        )  # fmt: skip
    store = Store(file.store)
    if not dry_run or not (file.output_dir / "run.yaml").exists():  # what was run is not what was planned
        folder.open_folder(
            file.output_dir, file.document.text, checked.config.model_dump(mode="json"), store.root
        )
        remember(file)
    log = None if dry_run else file.output_dir / "log.jsonl"
    display = Display(log, quiet=quiet)
    kept = launcher is not None
    launcher = launcher or LocalLauncher(
        workers=checked.config.launch.workers, threads=checked.threads, log=file.output_dir / "workers.log"
    )
    display.begin(command)
    try:
        steps = Steps(store, launcher, display, planning=dry_run, folder=file.output_dir)
        this = Run(checked, steps, until=until)
        models = _train(this)
        wanted = [model for model, role in models if until == "evaluate" and _wanted(role, checked)]
        evaluated = this.evaluate(wanted)
        if dry_run:
            return plan(this, probe=probe)
        display.close()
        results = _finish(this, models, evaluated, command)
        display.end()
        return results
    finally:
        display.close()
        if not kept:
            launcher.close()


def _train(this: Run) -> list[tuple[Model, str]]:
    """The base, the baselines, and what the recipe made with its sub-models: (model, role), in table order."""
    checked, config = this.checked, this.checked.config
    models = [(this.base(), "base")]
    try:
        final = checked.recipe(this, config)
        role = "merged" if this.submodels else "baseline"  # before a baseline that merges adds its own
        for baseline in checked.baselines:
            made = baseline(this, config)
            models.append((replace(made, name=baseline.method.name), "baseline"))
        models += [(model, "submodel") for model in this.submodels]
        models.append((final, role))
    except Stopped:
        models += [(model, "submodel") for model in this.submodels]
    return models


def _wanted(role: str, checked: Any) -> bool:
    """Whether `evaluate.models` names that role; the result of the recipe is always evaluated."""
    plural = {"submodel": "submodels", "baseline": "baselines"}.get(role, role)
    only_baseline = role == "baseline" and checked.recipe.method.name == "vanilla_sft"
    return plural in checked.config.evaluate.models or only_baseline


def _finish(this: Run, models: list[tuple[Model, str]], evaluated: Any, command: str) -> dict[str, Any]:
    """Readable names, results.json, report.html; `steps.json` last, for the next plan."""
    from dtm.report import render

    folder.show_data(this)
    folder.show_models(this, models)
    folder.show_evaluation(this, evaluated)
    results = assemble(this, models, evaluated, command=command)
    write_json(this.steps.folder / "results.json", results)
    render(results, this.steps.folder)
    this.steps.save(whole=this.until == STAGES[-1])
    return results
