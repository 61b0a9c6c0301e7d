"""What a person sees while a run works: one line a step, and live bars for what works now.

In a terminal the bars move; in a file there are plain lines, seldomer the longer it takes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtm.foundations.launch import Event
from dtm.pipeline.journal import AT, Journal
from dtm.pipeline.remaining import Going, seconds_left

SOON, SELDOM, SHARE = (
    15.0,
    300.0,
    20,
)  # seconds between plain lines: at first, at most; a part of the time so far


@dataclass
class _Job:
    """What is known of one that was queued."""

    what: str
    steps: int | None
    going: Going


class Display:
    """Prints to standard error, so that standard output stays clean for `--json`; `folder` gets the logs."""

    def __init__(self, folder: Path | None = None, *, quiet: bool = False) -> None:
        from rich.console import Console

        self.journal, self.quiet = Journal(folder), quiet
        self.console = Console(stderr=True, highlight=False)
        self.workers = 1
        self._bars: Any = None
        self._jobs: dict[str, _Job] = {}
        self._ended: list[tuple[int, float]] = []
        self._begun: dict[str, tuple[float, float]] = {}  # when a label began, and when it last got a line

    @contextmanager
    def working(self, command: str, *, workers: int = 1, **facts: Any) -> Iterator[None]:
        """A command: the log says when it begins, and how it ended, which `dtm status` looks for."""
        self.workers = workers
        try:
            with self.journal.working(command=command, workers=workers, **facts):
                yield
        finally:
            self.close()

    def start(self, label: str, what: str, kind: str = "") -> None:
        """A step in this process begins; `kind` is the step's name."""
        self._write("start", label, what=what, kind=kind)
        self._bar(label, what)

    @contextmanager
    def aside(self, label: str, what: str) -> Iterator[None]:
        """Something that takes a while and is no step of the store."""
        self.start(label, what, label)
        yield
        self._write("done", label, kind=label)
        self._drop(label)

    def queue(self, label: str, what: str, kind: str = "", steps: int | None = None) -> None:
        """A job waits for a worker; `steps` it will take, if that is known."""
        self._jobs[label] = _Job(what, steps, Going(0, steps, running=False))
        self._write("queued", label, what=what, kind=kind, steps=steps)
        if self._plain:
            self._print(f"  {label}: {what}: waiting")

    def waiting(self, label: str) -> None:
        self._write("waiting", label)
        self._print(f"  [yellow]{label}: another process works on this; waiting for it[/]")

    def update(self, label: str, done: int, total: int | None, text: str = "") -> None:
        """Progress of a step in this process."""
        self._progressed(label, {"done": done, "total": total, "stage": text})

    def event(self, event: Event) -> None:
        """What happens to a job in a worker."""
        name, data = event.job.name, event.data
        if event.kind == "progress":
            self._progressed(name, data)
            return
        if event.kind == "done":
            return
        self._write(event.kind, name, **data)
        if event.kind == "started" and (
            job := self._jobs.get(name)
        ):  # a part of a step has no bar of its own
            job.going = Going(job.going.done, job.steps)
            if not self._plain:
                self._bar(name, job.what)
        if event.kind == "waiting":
            self._print(f"  [yellow]{name} waits for a place: {data['reason']}[/]")
        if event.kind == "retry":
            reason = data["reason"]
            self._print(
                f"  [yellow]{name}: its worker is gone ({reason}); going on from the last checkpoint[/]"
            )
        if event.kind == "stopping":
            self._print(f"  [yellow]{name}: stopping behind this step; a second signal leaves at once[/]")
        if event.kind == "left":
            self._drop(name)
            at = data.get("at")
            self._print(
                f"  [yellow]{name}: stopped{'' if at is None else f' at step {at}, its checkpoint is kept'}[/]"
            )
        if event.kind == "failed":
            from rich.markup import escape

            self._drop(name)  # the first failure is raised in the end, with the last lines of its log
            self._print(f"  [red]{name}: {escape(data['reason'].splitlines()[0])}[/]")

    def done(
        self,
        label: str,
        what: str,
        *,
        reused: bool,
        why: str,
        seconds: float,
        facts: dict[str, Any],
        kind: str = "",
    ) -> None:
        told = {name: facts[name] for name in ("rows", "steps", "tokens") if isinstance(facts.get(name), int)}
        self._write(
            "reused" if reused else "done", label, seconds=round(seconds, 2), why=why, kind=kind, **told
        )
        if not reused and label in self._jobs:
            self._ended.append((told.get("steps", 0), seconds))
        self._drop(label)
        mark = "[dim]=[/]" if reused else "[green]✓[/]"
        end = "[dim]reused[/]" if reused else f"{duration(seconds)}"
        self._print(f"{mark} {label:<24} {_facts(facts)}  {end}")

    def note(self, text: str) -> None:
        self._write("note", "", text=text)
        self._print(text)

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    @property
    def _plain(self) -> bool:
        return self.quiet or not self.console.is_terminal

    def _progressed(self, label: str, data: dict[str, Any]) -> None:
        data = self.journal.progress(label, data)
        done, total = data.get("step", data.get("done")), data.get("steps", data.get("total"))
        if data.get("stage") == "resuming":
            self._write("resuming", label, **{AT: done})
        if label in self._jobs and done is not None:
            self._jobs[label].going = Going(done, total or self._jobs[label].steps, data.get("seconds_left"))
        if self.quiet:
            return
        info, left = told(data), data.get("seconds_left")
        rest = f"{duration(left)} left" if left else ""
        if self._bars is not None:
            if label in self._bars:
                count = {} if done is None else {"completed": done, "total": total or None}
                self._bars.show(label, info=info, left=rest, **count)
        elif done is not None and self._plain and self._due(label):
            words = [f"{done:,}" + (f" of {total:,}" if total else ""), info, rest]
            self._print(f"  {label}: {', '.join(word for word in words if word)}")

    def _bar(self, label: str, what: str) -> None:
        if self._plain:
            self._print(f"  {label}: {what}")
            return
        if self._bars is None:
            from dtm.pipeline.bars import Bars

            self._bars = Bars(self.console, self._below)
            self._bars.start()
        self._bars.add(label, what)

    def _below(self) -> str:
        """Under the bars: how many jobs wait, and how long all of them take."""
        going = [job.going for job in self._jobs.values()]
        waiting = sum(not job.running for job in going)
        left = seconds_left(going, self.workers, self._ended) if len(going) > 1 else None
        words = [
            f"{waiting} more wait for a worker" if waiting else "",
            f"{duration(left)} left for all" if left else "",
        ]
        return "; ".join(word for word in words if word)

    def _drop(self, label: str) -> None:
        self._jobs.pop(label, None)
        if not self._jobs:
            self._ended.clear()  # what comes next is of another kind
        if self._bars is not None:
            self._bars.drop(label)
            if not self._bars:
                self.close()

    def _due(self, label: str) -> bool:
        now = time.monotonic()
        began, last = self._begun.setdefault(label, (now, now))
        if now - last < min(SELDOM, max(SOON, (now - began) / SHARE)):
            return False
        self._begun[label] = began, now
        return True

    def _print(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, soft_wrap=True)
            sys.stderr.flush()

    def _write(self, kind: str, label: str, /, **data: Any) -> None:
        self.journal.event(kind, label, **data)


def told(data: Mapping[str, Any]) -> str:
    """A job's progress in words: `loss 1.234, 5,120 tokens/s`."""
    words = []
    if data.get("loss") is not None:
        words.append(f"loss {data['loss']:.3f}")
    if data.get("tokens_per_second"):
        words.append(f"{data['tokens_per_second']:,.0f} tokens/s")
    stage = data.get("stage") or ""
    if stage and stage != "training":
        words.append(f"{stage} from step {data['step']}" if stage == "resuming" else stage)
    return ", ".join(words)


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
