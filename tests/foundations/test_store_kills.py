"""SIGKILL at any moment: what is in objects/ is whole, and the next owner goes on at once."""

import hashlib
import json
import os
import random
import signal
import time

import pytest

from dtm.foundations.files import walk, write_json
from dtm.foundations.store import Step, Store
from tests.foundations.forks import fork, kill_at_line, outcome


def build(claim):
    """Some work in pieces: each is kept in scratch when done, so that the next owner does not repeat it."""
    done = 0
    for piece in range(3):
        mark = claim.scratch / f"piece-{piece}"
        if not mark.exists():
            done += 1
            with open(claim.output / f"shard-{piece}", "wb") as file:
                for _ in range(4):
                    file.write(bytes([piece]) * 5000)
            mark.touch()
    write_json(claim.output / "card.json", {"pieces": 3})
    return {"done": done}


def assert_whole(store):
    """Digests from the bytes themselves, not from the store's own cache."""
    for folder in (store.root / "objects").iterdir():
        manifest = json.loads((folder / "manifest.json").read_text())
        found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in walk(folder)}
        found.pop("manifest.json")
        assert found == manifest["files"]
        assert len(found) == 4
        fields = {name: manifest[name] for name in Step("x").fields}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        assert folder.name == hashlib.sha256(text.encode()).hexdigest()[:32]


@pytest.fixture
def undisturbed(tmp_path):
    return Store(tmp_path / "undisturbed").make(Step("killed"), build).digest


def test_killed_before_any_line_of_ours(tmp_path, undisturbed, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a kill loses no page of the kernel
    killed_in_publish = 0
    for line in range(1, 10_000):
        root = tmp_path / f"store-{line}"

        def attempt(root=root):
            Store(root).make(Step("killed"), build)

        code = outcome(fork(kill_at_line(line, attempt)))
        store = Store(root)
        assert_whole(store)
        killed_in_publish += (store.root / "work" / Step("killed").key / "output" / "card.json").exists()
        claim = store.claim(Step("killed"), wait=lambda: pytest.fail("the dead still hold the lock"))
        artifact = claim.artifact or claim.publish(build(claim))
        assert artifact.digest == undisturbed, f"killed before line {line}"
        assert_whole(store)
        assert store.find(Step("killed")) == artifact
        assert list((store.root / "work").iterdir()) == []
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert line > 150, "the tracer killed nothing"
    assert killed_in_publish > 30


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
            claim = store.claim(step, wait=lambda: pytest.fail("the dead still hold the lock"))
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
