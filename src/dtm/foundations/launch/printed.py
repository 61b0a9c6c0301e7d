"""What a job prints: a file of its own where it has one, and the last lines of it for the error that ends the job."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LINES, CHARACTERS = 12, 200  # that an error shows at most, and of one line
MARKS = " ^~"  # of lines in a traceback that only point at the line above
TAIL = 64 << 10  # bytes in which they are looked for


def append(log: Path | None, text: str) -> None:
    """Add what a worker printed; a log that cannot be written costs no work."""
    if log is None:
        return
    with suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a", encoding="utf-8") as file:
            file.write(text)


class Printed:
    """What one attempt at a job prints, at the end of `log`; `heading` a job's own file says where it ran."""

    def __init__(self, log: Path | None) -> None:
        self.log = log
        self._start = _size(log)

    def heading(self, attempt: int, where: Mapping[str, Any]) -> None:
        """A line that parts this attempt from the one before."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        append(
            self.log, f"--- {now} attempt {attempt} on {where.get('host')}, process {where.get('pid')} ---\n"
        )
        self._start = _size(self.log)

    def last_lines(self) -> list[str]:
        """The last lines that say something; none where nothing was printed."""
        if self.log is None:
            return []
        try:
            with open(self.log, "rb") as file:
                file.seek(max(self._start, _size(self.log) - TAIL))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return []
        lines = [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]  # of a bar, its last state
        return [_shortened(line) for line in lines if line.strip(MARKS)][-LINES:]


def _size(log: Path | None) -> int:
    try:
        return 0 if log is None else os.stat(log).st_size
    except OSError:
        return 0


def _shortened(line: str) -> str:
    return line if len(line) <= CHARACTERS else line[: CHARACTERS - 1] + "…"
