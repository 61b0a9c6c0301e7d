"""What happens in a run, as lines of JSON in its folder: `dtm status` and people read them, nothing else does.

    log.jsonl                 every event of the run, but progress
    logs/<step>.jsonl         every event of one step that was not reused, and its progress, a line a second at most
    logs/<sub-model>.log      what it prints in its worker
    logs/driver.lock          held while the run works: it falls with the process, whatever ends that

The driver alone writes, from what launchers tell it, so that it is the same for workers here, on Ray and on Slurm.
A line is appended whole; what a kill or a full disk leaves of one is closed by the next. A log that cannot be
written costs no work.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dtm.foundations.errors import DtmError
from dtm.foundations.speed import Speed

EVENTS, LOGS, LOCK = "log.jsonl", "logs", "logs/driver.lock"
UNSAFE = re.compile(r"[^-+.=@\w]")  # in a file's name
AT = "at"  # a line's `step` is a step of the run, so that of a training has another name
BEGIN = ("start", "queued")
EVERY = 1.0  # seconds between two lines of progress of one job


class Journal:
    """Writes to a run's folder, or, without one, nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._lock: int | None = None
        self._own: set[str] = set()  # steps that are done here, and have a log
        self._told: dict[str, float] = {}
        self._speeds: dict[str, Speed] = {}

    def begin(self, **facts: Any) -> None:
        """A command begins: hold the lock, and say who works here."""
        if self.folder is None:
            return
        with suppress(OSError):
            (self.folder / LOGS).mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_SH)  # shared: two commands may work on one folder
        self.event("run", "", host=socket.gethostname(), pid=os.getpid(), **facts)

    def end(self, kind: str, /, **facts: Any) -> None:
        """It has ended: `end`, `failed` or `stopped`."""
        self.event(kind, "", **facts)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def working(self, **facts: Any) -> Iterator[None]:
        """A command: the log says when it begins, and how it ended, which `dtm status` looks for."""
        self.begin(**facts)
        try:
            yield
        except BaseException as error:
            said = str(error) if isinstance(error, DtmError) else f"{type(error).__name__}: {error}"
            self.end("failed" if isinstance(error, Exception) else "stopped", reason=said.rstrip(": "))
            raise
        else:
            self.end("end")

    def event(self, kind: str, label: str, /, **data: Any) -> None:
        """Something happened to a step, or, without a label, to the run."""
        line = _line(kind, label, data)
        self._append(EVENTS, line)
        if kind in BEGIN:
            self._own.add(label)
        if label in self._own:
            self._append(self.name(label, "jsonl"), line)

    def progress(self, label: str, data: dict[str, Any]) -> dict[str, Any]:
        """How far a step is, here or in a worker; returns it with `seconds_left`, by the speed measured here."""
        done, total = data.get("done"), data.get("total")
        if done is not None and "seconds_left" not in data:
            a_second = self._speeds.setdefault(label, Speed()).seen(done)
            data = {**data, "seconds_left": (total - done) / a_second if total and a_second else None}
        now = time.monotonic()
        last = data.get("step", done) == data.get("steps", total)
        if last or now - self._told.get(label, -EVERY) >= EVERY:
            self._told[label] = now
            line = {AT if name == "step" else name: value for name, value in data.items()}
            self._append(self.name(label, "jsonl"), _line("progress", label, line))
        return data

    def log(self, label: str) -> str | None:
        """The file for what that step prints in its worker."""
        return None if self.folder is None else str(self.folder / self.name(label, "log"))

    @staticmethod
    def name(label: str, suffix: str) -> str:
        """A step's file in the run folder."""
        return f"{LOGS}/{UNSAFE.sub('_', label)[:200]}.{suffix}"

    def _append(self, name: str, line: bytes) -> None:
        if self.folder is None:
            return
        with suppress(OSError):
            file = os.open(self.folder / name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                size = os.fstat(file).st_size
                torn = size and os.pread(file, 1, size - 1) != b"\n"
                os.write(file, b"\n" + line if torn else line)
            finally:
                os.close(file)


def _line(kind: str, label: str, data: dict[str, Any]) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "event": kind, "step": label, **data}, default=str).encode() + b"\n"
