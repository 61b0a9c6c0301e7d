"""What a person sees while a study works: one line a run, a bar over all runs, and the time left."""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING, Any

from dtm.pipeline.display import duration

if TYPE_CHECKING:
    from dtm.study.arms import Trial
    from dtm.study.running import Outcome


class Progress:
    """Prints to standard error; `total` is the number of runs."""

    def __init__(self, total: int = 0, *, quiet: bool = False) -> None:
        from rich.console import Console

        self.console, self.quiet, self.total = Console(stderr=True, highlight=False), quiet, total
        self.ended = 0
        self._times: dict[tuple[str, bool], list[float]] = {}  # of runs that had work to do
        self._bar: Any = None
        self._task: Any = None

    def start(self, trial: Trial) -> None:
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
        if outcome.results is not None and not all(stage["reused"] for stage in outcome.results["stages"]):
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

    def left(self) -> str:
        """About how long the rest takes, at the median of the runs that had work to do."""
        times = [seconds for found in self._times.values() for seconds in found]
        rest = self.total - self.ended
        return f"about {duration(rest * statistics.median(times))} left" if times and rest else ""

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
