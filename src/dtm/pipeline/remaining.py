"""How long jobs that share workers have still to go, by what was measured and by nothing else."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Going:
    """A job that runs or waits: units (steps, say) done and in all, and the seconds left that it tells itself."""

    done: int
    total: int | None
    seconds: float | None = None
    running: bool = True

    @property
    def rest(self) -> int:
        return (self.total or 0) - self.done


def seconds_left(
    jobs: Sequence[Going], workers: int, ended: Iterable[tuple[int, float]] = ()
) -> float | None:
    """Seconds until all have ended, those that wait taken in order by the worker that is free first.

    A unit of a job that tells nothing takes what one of the others does, or of those that `ended`: (units, seconds).
    None where a job's length is not known, or nothing was measured.
    """
    if not jobs or any(job.total is None for job in jobs):
        return None
    told = [(job.rest, job.seconds) for job in jobs if job.seconds is not None and job.rest > 0]
    measured = told or [one for one in ended if one[0] > 0]
    if not measured and any(job.rest > 0 and job.seconds is None for job in jobs):
        return None
    unit = sum(seconds for _, seconds in measured) / sum(units for units, _ in measured) if measured else 0.0
    takes = [(job, job.rest * unit if job.seconds is None else job.seconds) for job in jobs]
    free = [seconds for job, seconds in takes if job.running]
    free += [0.0] * (workers - len(free))
    heapq.heapify(free)
    for seconds in (seconds for job, seconds in takes if not job.running):
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)
