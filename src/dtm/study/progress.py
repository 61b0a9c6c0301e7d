"""What a person sees while a study works: one line a run, a bar over all runs, the time left; and the study's log."""

from __future__ import annotations

import os
import socket
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.pipeline.display import duration
from dtm.pipeline.journal import Journal

if TYPE_CHECKING:
    from dtm.study.arms import Trial
    from dtm.study.running import Outcome


class Progress:
    """Prints to standard error; `total` is the number of runs. `folder` gets the log that `dtm status` reads."""

    def __init__(self, total: int = 0, *, quiet: bool = False, folder: Path | None = None) -> None:
        from rich.console import Console

        self.journal = Journal(folder)
        self.console, self.quiet, self.total = Console(stderr=True, highlight=False), quiet, total
        self.ended = 0
        self._times: dict[tuple[str, bool], list[float]] = {}  # of runs that had work to do
        self._bar: Any = None
        self._task: Any = None

    def start(self, trial: Trial) -> None:
        self.journal.event("started", trial.label, host=socket.gethostname(), pid=os.getpid())
        if self.quiet or not self.console.is_terminal:
            return
        if self._bar is None:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(TextColumn("  {task.description}"), BarColumn(bar_width=28), MofNCompleteColumn(),
                            TextColumn("{task.fields[left]}"), console=self.console, transient=True)  # fmt: skip
            self._task = self._bar.add_task("", total=self.total, left="")
            self._bar.start()
        self._bar.update(self._task, description=trial.label, completed=self.ended, left=self.left())

    def planned(self) -> None:
        self.ended += 1

    def done(self, outcome: Outcome, seconds: float) -> None:
        self.ended += 1
        worked = outcome.results is not None and not all(
            stage["reused"] for stage in outcome.results["stages"]
        )
        kind = "failed" if outcome.error else "done" if worked else "reused"
        self.journal.event(kind, outcome.trial.label, seconds=round(seconds, 3), reason=outcome.error)
        if worked:
            self._times.setdefault((outcome.trial.arm.name, outcome.trial.tuning), []).append(seconds)
        if self.quiet:
            return
        from rich.markup import escape

        mark = "[red]failed[/]" if outcome.error else f"{duration(seconds)}"
        why = f": {escape(outcome.error)}" if outcome.error else ""
        left = "" if self._bar is not None else f"  [dim]{self.left()}[/]"
        number = f"{self.ended:>{len(str(self.total))}}/{self.total}"
        self.console.print(f"{number} {escape(outcome.trial.label)}  {mark}{why}{left}", soft_wrap=True)
        sys.stderr.flush()

    def impossible(self, outcome: Outcome) -> None:
        """A run that could not even begin."""
        self.journal.event("failed", outcome.trial.label, seconds=0.0, reason=outcome.error)

    def left(self) -> str:
        """About how long the rest takes, at the median of the runs that had work to do."""
        times = [seconds for found in self._times.values() for seconds in found]
        rest = self.total - self.ended
        return f"about {duration(rest * statistics.median(times))} left" if times and rest else ""

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
