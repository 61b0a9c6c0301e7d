"""The kept process that runs jobs: `python -m dtm.foundations.launch.worker`.

JSON lines come in on standard input and go out on what was standard output when the process
started; whatever libraries print goes to standard error. When the driver dies, standard input
closes, and the worker leaves at once: there are no orphans. Asked to stop, by its driver or by SIGTERM, it lets a
job that heeds (`leaving`) keep its work, and leaves.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from dtm.foundations import errors
from dtm.foundations.errors import DtmError
from dtm.foundations.launch import leaving
from dtm.foundations.launch.memory import is_full, is_oom


def main() -> None:
    """Serve jobs until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    signal.signal(signal.SIGTERM, lambda *_: leaving.ask() or os._exit(128 + signal.SIGTERM))
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        line = json.dumps(message) + "\n"  # before the lock: what is no JSON sends nothing
        with lock:
            channel.write(line)

    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    while True:
        job = jobs.get()
        with _printing_to(job.get("log")):
            try:
                if job.get("away") and job["lock"] and not os.path.exists(os.path.dirname(job["lock"])):
                    _function(job["away"]["function"])(job, send, answer)
                else:
                    with _held(job.get("lock")):
                        answer(job, send)
            except BaseException as error:
                send(failure(error))
        leaving.able(False)
        if leaving.asked():
            os._exit(0)


def answer(job: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Do the job, here or in the processes that it is spread over, and send what it tells and returns."""
    if job.get("gang"):
        from dtm.foundations.launch.gang import run

        run(job, send)
    else:
        result = call(
            job["function"], job["arguments"], lambda data: send({"event": "progress", "data": data})
        )
        send({"event": "done", "result": result})


def nothing(arguments: dict[str, Any], progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A job that does nothing: what starting a worker takes."""
    return {}


def failure(error: BaseException) -> dict[str, Any]:
    """A user's error as it is; anything else as a crash, its traceback on standard error."""
    if isinstance(error, DtmError):
        known = (one.__name__ for one in type(error).__mro__ if getattr(errors, one.__name__, None) is one)
        return {"event": "failed", "kind": next(known), "what": error.what, "where": error.where,
                "mend": error.mend}  # fmt: skip
    if isinstance(error, leaving.Left):
        return {"event": "left", "at": error.step}
    traceback.print_exc()
    sys.stderr.flush()
    text = f"{type(error).__name__}: {error}"
    return {"event": "crashed", "what": text, "memory": is_oom(error), "full": is_full(error)}


def call(function: str, arguments: dict[str, Any], progress: Callable[[dict[str, Any]], None]) -> Any:
    """Import `module:name` and call it."""
    return _function(function)(arguments, progress=progress)


def _function(name: str) -> Any:
    module, _, name = name.partition(":")
    return getattr(import_module(module), name)


def _read(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if not message.get("stop"):
            jobs.put(message)
        elif not leaving.ask():
            os._exit(0)
    os._exit(0)


@contextmanager
def _held(path: str | None) -> Iterator[None]:
    if path is None:
        yield
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _printing_to(path: str | None) -> Iterator[None]:
    """Standard output and error go to that file, where it can be written: also what a gang and C libraries print."""
    file = None
    if path is not None:
        with suppress(OSError):
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if file is None:
        yield
        return
    before = os.dup(2)
    _point(file)
    try:
        yield
    finally:
        _point(before)


def _point(descriptor: int) -> None:
    """Let both streams go there, and close it."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)


if __name__ == "__main__":
    main()
