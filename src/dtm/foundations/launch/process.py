"""A kept worker process: jobs go in as JSON lines, and its answers come out.

A subprocess, and not multiprocessing's forkserver: the child does not import the caller's `__main__`
again, so `dtm.run(...)` works from an unguarded script, and the same entry point serves launchers on
other machines.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dtm.foundations.launch import memory

LAST = frozenset(
    {"done", "failed", "crashed", "died", "left"}
)  # answers after which a worker waits for the next job
GRACE = 5.0  # seconds that a worker has to leave by itself


class Died(Exception):
    """A worker, or the place where it was, went away while it had a job; `lost`: the place with it.

    `starved`: the kernel ended it for want of memory.
    """

    def __init__(self, reason: str, *, lost: bool = True, starved: bool = False) -> None:
        super().__init__(reason)
        self.lost, self.starved = lost, starved


class WorkerProcess:
    """One process and its pipes; what it prints goes to `sink`, an open file or a constant of subprocess."""

    def __init__(self, environment: Mapping[str, str], sink: Any = subprocess.DEVNULL) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dtm.foundations.launch.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True, encoding="utf-8",
            errors="replace", env=dict(environment),
        )  # fmt: skip
        self.pid, self.printed = self._process.pid, self._process.stderr
        self._writing = threading.Lock()

    def answers(self, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Hand over a job, and give its answers up to the last; raises Died where the process leaves before."""
        kills = memory.kills()
        try:
            self._tell(message)
            for line in self._process.stdout:  # type: ignore[union-attr]
                answer = json.loads(line)
                yield answer
                if answer["event"] in LAST:
                    return
        except (
            BrokenPipeError,
            ValueError,
        ):  # half a line of one that was killed, or its input was closed just now
            pass
        self.hang_up()
        code = self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]
        if code == -signal.SIGKILL and memory.kills() > kills:
            raise Died("the kernel ended it for want of memory", starved=True)
        raise Died(f"signal {-code}" if code < 0 else f"exit code {code}")

    def interrupt(self) -> None:
        """Ask its job to keep its work and end, or the worker to leave if the job does not heed."""
        with contextlib.suppress(BrokenPipeError, ValueError):  # it has left, or is leaving
            self._tell({"stop": True})

    def _tell(self, message: Mapping[str, Any]) -> None:
        with self._writing:
            self._process.stdin.write(json.dumps(message) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]

    def hang_up(self) -> None:
        """Close the worker's input, at which it leaves."""
        with contextlib.suppress(BrokenPipeError):  # what stood in the buffer of a dead worker is lost
            self._process.stdin.close()  # type: ignore[union-attr]

    def stop(self) -> None:
        """Wait until the worker has left, or kill it."""
        self.hang_up()
        try:
            self._process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]


def environment(threads: int, gpus: str | None = None) -> dict[str, str]:
    """The worker's environment: threads are set before torch is imported, and wait without spinning.

    `gpus` is what CUDA_VISIBLE_DEVICES says; None leaves it as it is. A worker imports the dtm that this process did,
    though another one may be installed.
    """
    import dtm

    source, before = Path(dtm.__file__).parents[1], os.environ.get("PYTHONPATH", "")
    paths = [before] if "site-packages" in source.parts else [str(source), before]
    ours = {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    pinned = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
    return {
        **os.environ, **ours, **pinned,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
