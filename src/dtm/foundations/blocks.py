"""Rows in blocks: the same whatever the number of threads, so that sums over them are too."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")


def blocks(count: int, size: int) -> Iterator[slice]:
    """The slices of `size` rows that cover `count` rows."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def over_blocks(work: Callable[[Any], T], todo: Iterable[Any], threads: int) -> Iterator[T]:
    """What `work` makes of each item, in order, by as many threads; few answers wait for the one before."""
    items = list(todo)
    if threads == 1 or len(items) <= threads:  # to start threads takes longer than so little work
        yield from map(work, items)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        left = iter(items)
        waiting = deque(pool.submit(work, item) for item in islice(left, 2 * threads))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(left, 1))


@contextmanager
def threads() -> Iterator[int]:
    """How many threads BLAS may use, given to blocks of rows instead: inside, BLAS itself runs on one."""
    from threadpoolctl import threadpool_info, threadpool_limits

    allowed = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    with threadpool_limits(1, user_api="blas"):
        yield max(allowed, default=1)
