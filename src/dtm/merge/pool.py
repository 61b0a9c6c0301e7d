"""Threads that take tasks in any order and give results in the tasks' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 3  # tasks a thread that may be waiting or done: what bounds the memory of results


class Pool:
    """A pool of threads, or with one thread, no pool at all."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._executor = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def ordered(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[tuple[R, T]]:
        """(result, task) in the order of the tasks; the first error ends it."""
        if self._executor is None:
            for task in tasks:
                yield function(task), task
            return
        waiting: deque[tuple[Future[R], T]] = deque()
        try:
            for task in tasks:
                waiting.append((self._executor.submit(function, task), task))
                if len(waiting) > AHEAD * self.threads:
                    future, first = waiting.popleft()
                    yield future.result(), first
            while waiting:
                future, first = waiting.popleft()
                yield future.result(), first
        finally:
            for future, _ in waiting:
                future.cancel()

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
