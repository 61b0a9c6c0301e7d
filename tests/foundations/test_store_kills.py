"""SIGKILL at any moment: what is in objects/ is whole, and the next owner goes on at once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dtm.foundations.store import Step, Store
from tests.foundations.forks import fork, outcome
from tests.foundations.killing import assert_whole, at_once, build


@pytest.fixture
def undisturbed(tmp_path):
    return Store(tmp_path / "undisturbed").make(Step("killed"), build).digest


def test_killed_before_any_line_of_ours(tmp_path):
    command = [sys.executable, "-m", "tests.foundations.killing", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout)
    assert counted["lines"] > 150, "the tracer killed nothing"
    assert counted["written"] > 30


def test_killed_at_random_moments_of_a_long_loop(tmp_path, undisturbed, monkeypatch):
    """One store for all, so that a database or a lock that a kill spoils shows in what comes after."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a kill loses no page of the kernel
    randomness, root = random.Random(20), tmp_path / "store"
    finished_before = 0

    def endless(start):
        store = Store(root)
        for number in range(start, start + 10_000):
            store.make(Step("killed", {"number": number}), build)

    for kill in range(30):
        child = fork(lambda start=100_000 * kill: endless(start))
        while not (root / "digests.sqlite").exists():
            time.sleep(0.001)
        time.sleep(randomness.uniform(0.0, 0.2))
        os.kill(child, signal.SIGKILL)
        assert outcome(child) == -signal.SIGKILL
        store = Store(root)
        assert_whole(store)
        finished = len(list((root / "objects").iterdir()))
        number = 100_000 * kill + max(0, finished - finished_before - 1)
        for step in (Step("killed", {"number": number}), Step("killed", {"number": number + 1})):
            claim = store.claim(step, wait=at_once)
            artifact = claim.artifact or claim.publish(build(claim))
            assert artifact.digest == undisturbed
            assert store.find(step) == artifact
        finished_before = len(list((root / "objects").iterdir()))
    assert finished_before > 60, "the children had no time to build"
    assert list((root / "work").iterdir()) == []


def test_scratch_survives_a_kill_and_is_not_done_again(tmp_path):
    root = tmp_path / "store"

    def dies(claim):
        facts = build(claim)
        os.kill(os.getpid(), signal.SIGKILL)
        return facts

    assert outcome(fork(lambda: Store(root).make(Step("killed"), dies))) == -signal.SIGKILL
    assert Store(root).make(Step("killed"), build).facts == {"done": 0}
