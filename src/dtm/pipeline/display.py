"""What a person sees while a run works: one line a step, live bars for what trains now, and `log.jsonl`.

In a terminal the bars move; in a file or with --json there are plain lines.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from dtm.foundations.launch import Event


class Display:
    """Prints to standard error, so that standard output stays clean for `--json`."""

    def __init__(self, log: Path | None = None, *, quiet: bool = False) -> None:
        from rich.console import Console

        self.log, self.quiet = log, quiet
        self.console = Console(stderr=True, highlight=False)
        self._progress: Any = None
        self._tasks: dict[str, Any] = {}
        self._last: dict[str, float] = {}

    def begin(self, command: str) -> None:
        """A line in the log that parts one command from the next."""
        self._write("run", "", command=command)

    def end(self) -> None:
        """The line of a command that came to its end; `dtm status` looks for it."""
        self._write("end", "")

    def start(self, label: str, what: str) -> None:
        self._write("start", label, what=what)
        self._bar(label, what)

    def queue(self, label: str, what: str) -> None:
        self._write("queued", label, what=what)
        self._bar(label, f"{what}: waiting")

    def waiting(self, label: str) -> None:
        self._write("waiting", label)
        self._print(f"  [yellow]{label}: another process works on this; waiting for it[/]")

    def update(self, label: str, done: int, total: int | None, text: str = "") -> None:
        """Progress of a step in this process."""
        if self._progress is not None and label in self._tasks:
            self._progress.update(self._tasks[label], completed=done, total=total or None, info=text)
        elif not self.quiet and self._progress is None and self._due(label):
            self._print(
                f"  {label}: {done}" + (f" of {total}" if total else "") + (f", {text}" if text else "")
            )

    def event(self, event: Event) -> None:
        """Progress of a job in a worker."""
        name, data = event.job.name, event.data
        if event.kind == "progress":
            self._progressed(name, data)
            return
        if event.kind == "done":
            return
        self._write(event.kind, name, **data)
        if event.kind == "waiting":
            self._print(f"  [yellow]{name} waits for a place: {data['reason']}[/]")
        if event.kind == "retry":
            reason = data["reason"]
            self._print(f"  [yellow]{name}: its worker is gone ({reason}); going on from the last checkpoint[/]")
        if event.kind == "stopping":
            self._print(f"  [yellow]{name}: stopping behind this step; a second signal leaves at once[/]")
        if event.kind == "left":
            self._drop(name)
            at = data.get("at")
            self._print(f"  [yellow]{name}: stopped{'' if at is None else f' at step {at}, its checkpoint is kept'}[/]")
        if event.kind == "failed":
            from rich.markup import escape

            self._drop(name)
            self._print(f"  [red]{name}: {escape(data['reason'])}[/]")  # only the first is raised in the end

    def done(
        self, label: str, what: str, *, reused: bool, why: str, seconds: float, facts: dict[str, Any]
    ) -> None:
        self._write("reused" if reused else "done", label, seconds=round(seconds, 2), why=why)
        self._drop(label)
        mark = "[dim]=[/]" if reused else "[green]✓[/]"
        end = "[dim]reused[/]" if reused else f"{duration(seconds)}"
        self._print(f"{mark} {label:<24} {_facts(facts)}  {end}")

    def note(self, text: str) -> None:
        self._write("note", "", text=text)
        self._print(text)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._tasks = {}

    def _progressed(self, name: str, data: dict[str, Any]) -> None:
        stage = data.get("stage", "")
        if stage == "training":
            loss = data.get("loss")
            text = f"loss {loss:.3f}" if loss is not None else ""
            self.update(name, data["step"], data["steps"], text)
        elif "done" in data:
            self.update(name, data["done"], data.get("total"), stage)
        elif self._progress is not None and name in self._tasks:
            step = f" from step {data['step']}" if "step" in data else ""
            self._progress.update(self._tasks[name], info=f"{stage}{step}")
        if stage == "resuming":
            self._write("resuming", name, at=data["step"])

    def _bar(self, label: str, what: str) -> None:
        if self.quiet or not self.console.is_terminal:
            if not self.quiet:
                self._print(f"  {label}: {what}")
            return
        if self._progress is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("  {task.description:<24}"), BarColumn(bar_width=28), MofNCompleteColumn(),
                TextColumn("{task.fields[info]}"), TimeRemainingColumn(),
                console=self.console, transient=True,
            )  # fmt: skip
            self._progress.start()
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=None, info=what)

    def _drop(self, label: str) -> None:
        if self._progress is not None and label in self._tasks:
            self._progress.remove_task(self._tasks.pop(label))
            if not self._tasks:
                self.close()

    def _due(self, label: str, every: float = 15.0) -> bool:
        now = time.monotonic()
        if now - self._last.get(label, 0.0) < every:
            return False
        self._last[label] = now
        return True

    def _print(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, soft_wrap=True)
            sys.stderr.flush()

    def _write(self, kind: str, label: str, **data: Any) -> None:
        if self.log is None or not self.log.parent.exists():
            return
        line = {"time": round(time.time(), 3), "event": kind, "step": label, **data}
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: float) -> str:
    """Bytes in powers of 1000: `512 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _facts(facts: dict[str, Any]) -> str:
    words = []
    for name in ("read", "rows", "kept", "portions", "steps", "tokens", "score"):
        value = facts.get(name)
        if isinstance(value, int):
            words.append(f"{value:,} {name}")
        elif isinstance(value, str):
            words.append(value)
    return ", ".join(words)
