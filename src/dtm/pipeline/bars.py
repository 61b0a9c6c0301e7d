"""The bars in a terminal: a line for all that works now, and one for what waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

REFRESHED = 2.0  # times a second: a driver that waits for its workers shall cost nothing


class Bars(Progress):
    """Bars by label; `below` gives the line under them, or nothing."""

    def __init__(self, console: Console, below: Callable[[], str]) -> None:
        self.below, self._labels = below, dict[str, Any]()  # it draws itself already as it is made
        super().__init__(
            TextColumn("  {task.description}", markup=False), BarColumn(bar_width=20), MofNCompleteColumn(),
            TextColumn("{task.fields[info]}", markup=False), TextColumn("[cyan]{task.fields[left]}[/]"),
            console=console, transient=True, refresh_per_second=REFRESHED,
        )  # fmt: skip

    def __contains__(self, label: str) -> bool:
        return label in self._labels

    def __bool__(self) -> bool:
        return bool(self._labels)

    def add(self, label: str, info: str) -> None:
        if label not in self._labels:
            self._labels[label] = self.add_task(label, total=None, info=info, left="")

    def show(self, label: str, **what: Any) -> None:
        """`completed`, `total`, `info`, `left`: those that are given change."""
        self.update(self._labels[label], **what)

    def drop(self, label: str) -> None:
        if label in self._labels:
            self.remove_task(self._labels.pop(label))

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if line := self.below():
            yield Text(f"  {line}", style="dim")
