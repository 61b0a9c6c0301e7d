"""`dtm.study`: the whole of a study on one page - check, tune, run, collect, compare, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from dtm.foundations.files import write_json, write_text
from dtm.foundations.registry import unknown
from dtm.pipeline.check_storage import check_output
from dtm.pipeline.checks import Checked
from dtm.pipeline.mirroring import RunMirror
from dtm.study.arms import Arms
from dtm.study.asked import Answers
from dtm.study.checking import check
from dtm.study.file import StudyFile, read
from dtm.study.items import collect
from dtm.study.page import render
from dtm.study.planning import plan
from dtm.study.progress import Progress
from dtm.study.results import assemble
from dtm.study.running import Runner


def study(
    source: Path | str | Mapping[str, Any] | StudyFile,
    settings: Sequence[str] = (),
    *,
    only: Sequence[str] = (),
    dry_run: bool = False,
    quiet: bool = False,
    command: str = "",
) -> dict[str, Any]:
    """Run every arm under every seed, reusing whatever the store holds, and return the content of study.json.

    `settings` are `key=value` overrides; `only` names the arms to run, beside what was run before; `dry_run`
    returns the plan instead. A run that fails is marked, and the others go on. Raises DtmError for a user's
    mistake, before work.
    """
    file = source if isinstance(source, StudyFile) else read(source, settings)
    arms, folder = Arms(file), file.output_dir
    for name in only:
        if name not in arms.by_name:
            raise unknown("arm", name, arms.by_name, where="--only")
    if file.output_url:
        check_output(file.output_url, folder, file.document.where("output_dir"))
    checked = check(arms)
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress(quiet=quiet, folder=None if dry_run else folder)
    with closing(progress), closing(checked.launch.open(folder / "workers.log")) as launcher:
        runner = Runner(arms, launcher, progress, only, command)
        progress.total = len(runner.trials())
        if dry_run:
            return plan(runner)
        write_text(folder / "study.yaml", file.document.text)
        with progress.journal.working(command=command, study=file.config.study):
            results = _finish(runner, checked, command)
    RunMirror(folder, file.output_url).push_all()
    return results


def _finish(runner: Runner, checked: Checked, command: str) -> dict[str, Any]:
    """Do what is to be done, compare, and write study.json, its page and its tables."""
    arms, folder = runner.arms, runner.arms.file.output_dir
    outcomes = runner.finish()
    items = collect(outcomes)
    if items.benchmarks:
        items.save(folder / "items.parquet")
    answers = Answers({task.name: task for task in checked.tasks})
    results = assemble(arms, runner.tuned, outcomes, items, answers, command=command)
    write_json(folder / "study.json", results)
    render(results, folder)
    return results
