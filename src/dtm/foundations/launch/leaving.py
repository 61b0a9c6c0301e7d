"""Leaving in time: a job in a worker is asked to stop, keeps its work at its next step, and says where it stopped.

A job that heeds calls `able()`; one that does not is ended at once, since what it has not kept cannot be saved.
The worker is asked by its driver, or by SIGTERM.
"""

from __future__ import annotations

import threading

_asked = threading.Event()
_able = False
_left: int | None = None


class Left(Exception):
    """A job stopped since it was asked to; `step` is where it goes on, None if it kept nothing new."""

    def __init__(self, step: int | None = None) -> None:
        super().__init__("it was asked to stop")
        self.step = step


def able(yes: bool = True) -> None:
    """The job in hand looks at `asked` from now on; a worker says no between two jobs."""
    global _able
    _able = yes


def ask() -> bool:
    """Ask the job in hand to stop; whether there is one that heeds."""
    _asked.set()
    return _able


def asked() -> bool:
    """Whether the job should stop at its next step."""
    return _asked.is_set()


def leave(step: int) -> None:
    """The job stops behind that step, whose checkpoint is written; `check` then ends it."""
    global _left
    _left = step


def check() -> None:
    """Raise Left if the job has stopped before its end."""
    if _left is not None:
        raise Left(_left)
