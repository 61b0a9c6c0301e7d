"""Peak memory of this process while something runs, read from /proc every 20 ms."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FIELDS = ("VmRSS", "RssAnon")


def now() -> dict[str, int]:
    """Resident bytes: all, and those that no file backs."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in FIELDS:
            found[name] = int(value.split()[0]) * 1024
    return found


@contextmanager
def watched() -> Iterator[dict[str, int]]:
    """The peaks, in a dictionary that is filled until the block ends."""
    peaks, done = now(), threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for name, value in now().items():
                peaks[name] = max(peaks[name], value)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()
