"""One `map` in the driver: which of its jobs wait, which have ended, and what came of them."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from dtm.foundations.launch.jobs import Event, Job

ENDS = frozenset({"done", "left"})


class Ongoing:
    """`happenings` come from the places: (index of the job, event or error), or None to stop; the caller takes them.

    An error of `on_done`, such as a full disk, is that job's failure. One that `on_failed` does not deal with is among
    `failures`.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        on_event: Callable[[Event], None],
        on_done: Callable[[Job, dict[str, Any]], None],
        on_failed: Callable[[Job, Exception], bool],
    ) -> None:
        self.jobs, self.on_event, self.on_done, self.on_failed = jobs, on_event, on_done, on_failed
        self.waiting = deque(range(len(jobs)))
        self.open = set(range(len(jobs)))
        self.happenings: queue.SimpleQueue[tuple[int, Event | Exception] | None] = queue.SimpleQueue()
        self.results: list[dict[str, Any] | None] = [None] * len(jobs)
        self.failures: list[Exception] = []

    def report(self, index: int, kind: str, data: dict[str, Any]) -> None:
        """From a place: something happened to that job."""
        self.happenings.put((index, Event(kind, self.jobs[index], data)))

    def take(self, index: int, event: Event | Exception) -> None:
        """Hear of a happening, and tell the caller."""
        if isinstance(event, Exception):
            self._failed(index, event)
            return
        if event.kind == "done":
            self.results[index] = event.data["result"]
            try:
                self.on_done(event.job, event.data["result"])
            except Exception as error:
                self._failed(index, error)
                return
        if event.kind in ENDS:
            self.open.discard(index)
        self.on_event(event)

    def stop(self) -> None:
        """Give out no more jobs; those in hand are told of as stopping."""
        while self.waiting:
            try:
                self.open.discard(self.waiting.popleft())
            except IndexError:  # a place took the last one just now
                break
        for index in sorted(self.open):
            self.on_event(Event("stopping", self.jobs[index]))

    def _failed(self, index: int, error: Exception) -> None:
        self.open.discard(index)
        if not self.on_failed(self.jobs[index], error):
            self.failures.append(error)
        self.on_event(Event("failed", self.jobs[index], {"reason": str(error)}))
