"""What the soak looks at from outside: processes by a mark in their environment, the run's log, files that are left."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dtm.foundations.files import sha256, walk

MARK = "DTM_SOAK"
EXEMPT = {"log.jsonl", "workers.log", "manifest.json", "training_args.bin", "report.html", "results.json", "run.yaml",
          "origin.json", "README.md"}  # fmt: skip  # times, and places: README has the run file
WORKER = "dtm.foundations.launch.worker"
OURS = ("dtm.", "ray::_Worker")


def processes(mark: str) -> Iterator[tuple[int, int, str]]:
    """(pid, parent, command line) of live processes that carry the mark and are dtm's or a place of it on Ray."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if (
            state != "Z"
            and f"{MARK}={mark}\0".encode() in environment
            and any(one in command for one in OURS)
        ):
            yield int(entry.name), int(parent), command


def workers(mark: str) -> list[int]:
    """The worker processes, oldest first."""
    return sorted(pid for pid, _, command in processes(mark) if WORKER in command)


def gone_after(mark: str, patience: float) -> tuple[float, list[str]]:
    """Seconds until none of them is left, and those that are left when patience ends; these are killed."""
    start = time.monotonic()
    while (left := list(processes(mark))) and time.monotonic() < start + patience:
        time.sleep(0.05)
    for pid, _, _ in left:
        os.kill(pid, signal.SIGKILL)
    return round(time.monotonic() - start, 2), [command[:200] for _, _, command in left]


def events(log: Path) -> list[dict[str, Any]]:
    """All whole lines of the run's log."""
    found = []
    try:
        for line in log.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # the last line of a killed run
    except FileNotFoundError:
        pass
    return found


def last_command(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of the command that began last."""
    begins = [number for number, event in enumerate(told) if event["event"] == "run"]
    return told[begins[-1] :] if begins else []


def in_hand(told: list[dict[str, Any]]) -> list[str]:
    """Steps that have been started and not ended."""
    state = {event["step"]: event["event"] for event in told if event["step"]}
    return sorted(step for step, event in state.items() if event in ("start", "started", "retry", "resuming"))


def content(folder: Path) -> dict[str, str]:
    """sha256 of all that must be the same bytes in equal runs, by name."""
    files = {name: sha256(path) for name, path in walk(folder)
             if Path(name).name not in EXEMPT and not name.startswith("logs/")}  # fmt: skip
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return {**files, "results": json.dumps(results["results"], sort_keys=True)}


def litter(round_folder: Path) -> list[str]:
    """Files that a finished run should not leave: unfinished work, half-written and temporary files."""
    store = round_folder / "store"
    found = [f"store/work/{name}" for name, _ in walk(store / "work")]
    found += [f"store/work/{path.name}/" for path in (store / "work").iterdir()]
    for place in ("run", "store/objects", "store/runs", "tmp"):
        for name, _ in walk(round_folder / place):
            if place == "tmp" or name.rpartition("/")[2].startswith(".") or name.endswith(".tmp"):
                found.append(f"{place}/{name}")
    return sorted(found)


def steps_done(file: Path) -> dict[str, list[int]]:
    """Optimizer steps in the order in which they were done, by sub-model."""
    found: dict[str, list[int]] = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        name, step, _ = line.split()
        found.setdefault(name, []).append(int(step))
    return found
