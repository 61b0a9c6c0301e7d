"""What all launchers share: a job, what it may use, what happens to it, and the verb `map`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Job:
    """One call: `function` is `module:name`, `arguments` and the result are plain JSON values.

    `lock` is a file that the worker holds while it works: an orphan of a killed driver and its
    successor never write to one folder at the same time. `spread`: the function runs in each of the
    share's processes, as training does; others run in one. `log`: a file of its own for what it prints. `away`: what a
    machine that lacks the lock's folder, and so the driver's disk, does instead: `function` gets the message, how to
    send, and `answer`.
    """

    name: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    lock: str | None = None
    spread: bool = False
    log: str | None = None
    away: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Share:
    """What one job may use, all its processes and nodes together; `threads` are of one process.

    `accelerate` is the content of an accelerate config file, by HF's names.
    """

    threads: int = 1
    processes: int = 1
    cpus: int = 1
    gpus: int = 0
    nodes: int = 1
    accelerate: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Event:
    """`waiting` (for a place), `started`, `progress` (with `data`), `retry` (with `data["reason"]`), `done`, `failed`.

    After a signal also `stopping`, at its next step, and `left`, behind the step `data["at"]`, None if nothing is kept.
    `started` says where: `data["host"]`, `["pid"]`, `["gpus"]` (as CUDA_VISIBLE_DEVICES, or None), `["attempt"]`.
    """

    kind: str
    job: Job
    data: dict[str, Any] = field(default_factory=dict)


class Launcher(Protocol):
    """Runs jobs somewhere: at most `workers` at a time, each with its `share`; `log` receives what they print."""

    share: Share
    workers: int
    log: Path | None

    def map(
        self,
        jobs: Sequence[Job],
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        on_done: Callable[[Job, dict[str, Any]], None] = lambda job, result: None,
        on_failed: Callable[[Job, Exception], bool] = lambda job, error: False,
    ) -> list[dict[str, Any]]:
        """Run all jobs; results in the order of the jobs.

        `on_done` is called as each job ends, so that what is finished is kept even if others fail. `on_failed` says
        whether it dealt with an error; the first of the others is raised after all jobs have ended. At a signal
        (`signals`) jobs keep their work and end, and `signals.Stopped` is raised.
        """
        ...

    def warm(self, function: str) -> None:
        """Let workers do their imports, by that job, while the caller does something else; returns at once."""
        ...

    def close(self) -> None:
        """Stop all workers, busy or not."""
        ...
