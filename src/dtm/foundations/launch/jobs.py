"""What all launchers share: a job, what happens to it, and the verb `map`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Job:
    """One call: `function` is `module:name`, `arguments` and the result are plain JSON values.

    `lock` is a file that the worker holds while it works: an orphan of a killed driver and its
    successor never write to one folder at the same time.
    """

    name: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    lock: str | None = None


@dataclass(frozen=True)
class Event:
    """`started`, `progress` (with `data`), `retry` (with `data["reason"]`), `done` or `failed`."""

    kind: str
    job: Job
    data: dict[str, Any] = field(default_factory=dict)


class Launcher(Protocol):
    """Runs jobs somewhere."""

    def map(
        self,
        jobs: Sequence[Job],
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        on_done: Callable[[Job, dict[str, Any]], None] = lambda job, result: None,
    ) -> list[dict[str, Any]]:
        """Run all jobs; results in the order of the jobs.

        `on_done` is called as each job ends, so that what is finished is kept even if others fail.
        The first error is raised after all other jobs have ended.
        """
        ...

    def close(self) -> None:
        """Stop all workers."""
        ...
