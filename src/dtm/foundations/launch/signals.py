"""SIGINT and SIGTERM in the driver: the first one lets jobs keep their work, a second one leaves at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

CAUGHT = (signal.SIGINT, signal.SIGTERM)
_listener: Callable[[], None] | None = None
_received: list[int] = []


class Stopped(KeyboardInterrupt):
    """The run was stopped by a signal, and what its jobs had done is kept."""


def received() -> int:
    """The signal that stopped the run; SIGINT where none was caught here."""
    return _received[0] if _received else signal.SIGINT


@contextmanager
def caught() -> Iterator[None]:
    """Catch both signals meanwhile, if this is the main thread; others leave that to their caller."""
    with kept():
        if threading.current_thread() is threading.main_thread():
            _received.clear()
            for number in CAUGHT:
                signal.signal(number, _handle)
        yield


@contextmanager
def kept() -> Iterator[None]:
    """Put back what a library sets meanwhile, as Ray does for SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in CAUGHT}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def listening(listener: Callable[[], None]) -> Iterator[list[int]]:
    """Call `listener` at the first signal, instead of raising: it must be safe anywhere, as SimpleQueue.put is.

    Gives a list that then holds the signal. Only from the main thread, which a signal would interrupt.
    """
    global _listener
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return

    def hear() -> None:
        heard.append(received())
        listener()

    before, _listener = _listener, hear
    try:
        yield heard
    finally:
        _listener = before


def _handle(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    if len(_received) == 1 and _listener is not None:
        _listener()
    else:
        raise Stopped
