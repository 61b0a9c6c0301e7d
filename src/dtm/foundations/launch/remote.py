"""A worker process on another machine, for launchers that reach it by method calls or files."""

from __future__ import annotations

import os
import queue
import select
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dtm.foundations.errors import WorkerError
from dtm.foundations.launch.process import LAST, Died, WorkerProcess, environment
from dtm.foundations.store import versions

WAIT = 10.0  # seconds after which `more` answers though there is nothing
PRINTED = 0.5  # seconds that a worker's last answer waits at most for what it printed
GATHER = 0.1  # seconds in which what comes after the first answer goes along with it


class RemoteWorker:
    """A kept worker beside this process; its answers, and the lines that it prints, are fetched in batches."""

    def __init__(self, threads: int) -> None:
        self._environment = environment(threads)
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._kept: WorkerProcess | None = None

    def describe(self) -> dict[str, Any]:
        """Where it is, and with which versions; the worker is started, or replaced if it died."""
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"host": socket.gethostname(), "pid": self._worker().pid, "gpus": gpus, "versions": versions()}

    def begin(self, message: Mapping[str, Any]) -> None:
        """Hand over a job."""
        here = dict(message, log=None)  # what it prints goes to the driver, and not to a file of this machine
        threading.Thread(target=self._work, args=(self._worker(), here), daemon=True).start()

    def more(self, wait: float = WAIT) -> list[dict[str, Any]]:
        """The answers since the last call, at least one unless it takes long; {"event": "log"} is what was printed."""
        found: list[dict[str, Any]] = []
        with suppress(queue.Empty):
            found.append(self._answers.get(timeout=wait))
            end = time.monotonic() + GATHER
            while (left := end - time.monotonic()) > 0:
                found.append(self._answers.get(timeout=left))
        return found

    def interrupt(self) -> None:
        """Ask the job in hand to keep its work and end."""
        if self._kept is not None:
            self._kept.interrupt()

    def stop(self) -> None:
        """See that the worker leaves."""
        if self._kept is not None:
            self._kept.stop()

    def _worker(self) -> WorkerProcess:
        if self._kept is None:
            self._kept = WorkerProcess(self._environment, subprocess.PIPE)
            threading.Thread(target=self._print, args=(self._kept.printed,), daemon=True).start()
        return self._kept

    def _work(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        try:
            for answer in worker.answers(message):
                if answer["event"] in LAST:
                    self._hear_out(worker)
                self._answers.put(answer)
        except Died as death:
            self._hear_out(worker)
            self._kept = None
            self._answers.put({"event": "died", "reason": str(death), "starved": death.starved})

    def _hear_out(self, worker: WorkerProcess) -> None:
        """Let what it has printed go before its last answer: a crash's traceback explains it."""
        end, printed = time.monotonic() + PRINTED, worker.printed
        while printed and select.select([printed], [], [], 0)[0] and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(0.005)

    def _print(self, printed: Any) -> None:
        for line in printed:
            self._answers.put({"event": "log", "text": line})


def check_versions(place: Mapping[str, Any]) -> None:
    """Raise WorkerError where a place has other versions: it would compute other bytes than the store says."""
    here = versions()
    others = [f"{name} {place['versions'].get(name)} and not {version}" for name, version in here.items()
              if place["versions"].get(name) != version]  # fmt: skip
    if others:
        raise WorkerError(
            f"{place['host']} has {', '.join(others)}", mend="Install the same versions everywhere"
        )
