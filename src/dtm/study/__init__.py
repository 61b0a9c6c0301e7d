"""`dtm study`: arms x seeds over one store, to one table with statistics.

from dtm.study import study

study("study.yaml")          # what `dtm study study.yaml` does; returns the content of study.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dtm.foundations.files import write_json, write_text
from dtm.foundations.launch import LocalLauncher
from dtm.foundations.registry import unknown
from dtm.study.arms import Arms
from dtm.study.asked import Answers
from dtm.study.checking import check
from dtm.study.file import StudyFile, read
from dtm.study.items import collect
from dtm.study.planning import plan, runs_of
from dtm.study.progress import Progress
from dtm.study.results import assemble
from dtm.study.running import Runner

__all__ = ["read", "show", "study"]


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
    arms = Arms(file)
    for name in only:
        if name not in arms.by_name:
            raise unknown("arm", name, arms.by_name, where="--only")
    checked = check(arms)
    folder = file.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    launch = checked.config.launch
    runs = runs_of(arms, only)
    with LocalLauncher(
        workers=launch.workers, threads=checked.threads, log=folder / "workers.log"
    ) as launcher:
        progress = Progress(len(runs), quiet=quiet)
        runner = Runner(arms, launcher, progress, only, command)
        try:
            if dry_run:
                return plan(runner)
            write_text(folder / "study.yaml", file.document.text)
            outcomes = runner.finish()
        finally:
            progress.close()
    items = collect(outcomes)
    if items.benchmarks:
        items.save(folder / "items.parquet")
    answers = Answers({task.name: task for task in checked.tasks})
    results = assemble(arms, runner.tuned, outcomes, items, answers, command=command)
    write_json(folder / "study.json", results)
    from dtm.study.page import render

    render(results, folder)
    return results


def show(results: dict[str, Any], folder: Path) -> None:
    """Print a study's table and sentences and where its page is, or its plan."""
    from rich.console import Console

    from dtm.study import planning, terminal

    console = Console(highlight=False)
    if "totals" in results:
        planning.show(results, console)
        return
    console.print(terminal.table(results))
    for sentence in results["statement"]:
        console.print(sentence, soft_wrap=True, markup=False)
    console.print(f"\nreport: {folder / 'report.html'}", soft_wrap=True, markup=False)
