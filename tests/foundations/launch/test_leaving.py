"""SIGINT and SIGTERM: the first lets jobs keep their work, the second leaves at once; a worker may be asked alone."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from dtm.foundations.launch import Job, LocalLauncher, signals
from tests.foundations.launch.test_local import is_alive, wait_until

HERE = Path(__file__).parent


@pytest.fixture
def launcher(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    with LocalLauncher(workers=2) as one:
        yield one


def at_progress(number, signum, seen):
    """Collects events, and sends the signal at the n-th progress of each job in turn."""

    def on_event(event):
        seen.append((event.job.name, event.kind, event.data))
        if event.kind == "progress" and sum(kind == "progress" for _, kind, _ in seen) == number:
            os.kill(os.getpid(), signum)

    return on_event


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_jobs_keep_their_work_and_leave(launcher, signum):
    seen = []
    jobs = [Job(name, "jobs:heeds") for name in ("one", "two", "never begun")]
    with signals.caught(), pytest.raises(signals.Stopped):
        launcher.map(jobs, on_event=at_progress(20, signum, seen))
    assert signals.received() == signum
    steps = {name: data["step"] for name, kind, data in seen if kind == "progress"}  # the last of each
    left = {name: data["at"] for name, kind, data in seen if kind == "left"}
    stopping = {name for name, kind, _ in seen if kind == "stopping"}
    assert stopping == set(left) == {"one", "two"}
    assert all(left[name] is None or left[name] == steps[name] for name in left)
    assert any(left.values())
    pids = {data["pid"] for _, kind, data in seen if kind == "started"}
    wait_until(lambda: not any(is_alive(pid) for pid in pids))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_one_that_ends_meanwhile_is_done_and_one_that_does_not_heed_is_ended(launcher):
    seen, done = [], []
    jobs = [Job("ends", "jobs:heeds", {"after": 30, "stubborn": True}), Job("hangs", "jobs:hangs")]
    with signals.caught(), pytest.raises(signals.Stopped):
        launcher.map(jobs, on_event=at_progress(10, signal.SIGINT, seen),
                     on_done=lambda job, result: done.append((job.name, result["steps"])))  # fmt: skip
    assert done == [("ends", 30)]
    assert [(name, data["at"]) for name, kind, data in seen if kind == "left"] == [("hangs", None)]


def test_a_second_signal_leaves_at_once(launcher):
    seen = []
    on_progress = at_progress(10, signal.SIGINT, seen)

    def on_event(event):
        on_progress(event)
        if event.kind == "stopping":
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with signals.caught(), pytest.raises(signals.Stopped):
        launcher.map([Job("stubborn", "jobs:heeds", {"stubborn": True})], on_event=on_event)
    assert "left" not in {kind for _, kind, _ in seen}


def test_a_worker_that_is_asked_alone_keeps_its_work_and_another_goes_on(launcher):
    seen = []

    def on_event(event):
        seen.append((event.kind, event.data))
        if event.kind == "progress" and sum(kind == "progress" for kind, _ in seen) == 3:
            os.kill(event.data["pid"], signal.SIGTERM)

    launcher.map([Job("asked", "jobs:heeds", {"after": 40})], on_event=on_event)
    kinds = [kind for kind, _ in seen if kind != "progress"]
    assert kinds == ["started", "retry", "started", "done"]
    assert ("retry", {"reason": "it was asked to stop"}) in seen


def test_nothing_is_caught_outside_of_the_main_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(signals.caught().__enter__()))
    thread.start()
    thread.join()
    assert found == [None]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
