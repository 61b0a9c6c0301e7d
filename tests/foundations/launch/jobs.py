"""Jobs that the tests give to workers; imported there by name."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from dtm.foundations import errors
from dtm.foundations.errors import TrainingError


class VeryParticular(TrainingError):
    """An error class that the driver does not know."""


def echo(job, progress):
    for number in range(job.get("progress", 0)):
        progress({"number": number, "event": "a key of ours"})
    time.sleep(job.get("seconds", 0))
    return {"value": job.get("value"), "pid": os.getpid()}


def environment(job, progress):
    return {name: os.environ.get(name) for name in job["names"]}


def fails(job, progress):
    kind = VeryParticular if job["kind"] == "VeryParticular" else getattr(errors, job["kind"])
    raise kind("what \u2713", where="there:3", mend=job.get("mend"))


def crashes(job, progress):
    raise {"KeyError": KeyError("no such thing"), "MemoryError": MemoryError("12 GB"),
           "OutOfMemory": RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
           "SystemExit": SystemExit(3)}[job["kind"]]  # fmt: skip


def sleeps(job, progress):
    time.sleep(60)


def returns_no_json(job, progress):
    return {"a set": {1, 2}}


def prints(job, progress):
    print("printed")
    os.write(1, b'{"event": "done", "result": "from a C library"}\n')
    sys.stdout.flush()
    return "the true result"


def says(job, progress):
    print(job["text"])
    sys.stdout.flush()
    subprocess.run([sys.executable, "-c", f"print({job['text']!r} + ', from a child')"], check=True)


def crashes_late(job, progress):
    for number in range(job["lines"]):
        print("line", number, file=sys.stderr)
    crashes({"kind": "KeyError"}, progress)


def says_and_dies(job, progress):
    print(job["text"], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def dies(job, progress):
    """Kills itself as often as `times` says, counted in a file; then answers."""
    counter = Path(job["counter"])
    with open(counter, "a") as file:
        file.write("x")
    if len(counter.read_text()) <= job["times"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"attempts": len(counter.read_text())}


def leaves(job, progress):
    os._exit(7)


def hangs(job, progress):
    """Busy in the interpreter, not in a call that a closed pipe would end."""
    progress({"pid": os.getpid()})
    end = time.monotonic() + 60
    while time.monotonic() < end:
        pass


def waits_for(job, progress):
    """Reports, and goes on when the driver has made the file."""
    progress({"pid": os.getpid()})
    while not Path(job["file"]).exists():
        time.sleep(0.005)
    return {}


def is_locked(job, progress):
    """Whether somebody holds the lock of that file; asked in another thread, as an outsider would."""
    found = []

    def ask():
        with open(job["path"], "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(False)
            except BlockingIOError:
                found.append(True)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found[0]


def in_rank(job, progress):
    """In one process of a gang: fails, or is killed; the others crash a moment later, as a collective would."""
    if os.environ["RANK"] != job["rank"]:
        time.sleep(0.3)
        raise RuntimeError("Connection closed by peer")
    if job["what"] == "fails":
        fails({"kind": "DataError"}, progress)
    os.kill(os.getpid(), signal.SIGKILL)


def outlives(job, progress):
    """Waits to be killed where the file does not exist yet; answers at once where it does."""
    if Path(job["file"]).exists():
        return {"lived": True}
    return hangs(job, progress)


def heeds(job, progress):
    """Steps until it is asked to stop, and then leaves behind the step in hand; `after` steps it is done."""
    from dtm.foundations.launch import leaving

    leaving.able()
    for step in range(1, job.get("after", 10_000) + 1):
        time.sleep(0.005)
        progress({"step": step, "pid": os.getpid()})
        if leaving.asked() and not job.get("stubborn"):
            leaving.leave(step)
            break
    leaving.check()
    return {"steps": step}


def allocates(job, progress):
    """The error that torch itself raises where an allocation fails."""
    import torch

    with open(job["counter"], "a") as file:
        file.write("x")
    torch.empty(1 << 60, dtype=torch.uint8)


def fills(job, progress):
    """A write to a disk that is full."""
    with open("/dev/full", "w") as file:
        file.write("x" * 100_000)
