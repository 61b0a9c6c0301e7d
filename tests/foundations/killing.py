"""Kills a build before every line of the store's code, in turn: `python -m tests.foundations.killing FOLDER`.

A process of its own, since it forks for every line: from a test run that has torch in its memory, a fork costs more
than the build.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from dtm.foundations.files import walk, write_json
from dtm.foundations.store import Claim, Step, Store
from tests.foundations.forks import fork, kill_at_line, outcome


def build(claim: Claim) -> dict[str, Any]:
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


def assert_whole(store: Store) -> None:
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


def at_once() -> None:
    raise AssertionError("the dead still hold the lock")


def kill_before_every_line(folder: Path) -> dict[str, int]:
    """How many lines there were, and at how many of them the output was already written."""
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # a kill loses no page of the kernel
    step, written = Step("killed"), 0
    undisturbed = Store(folder / "undisturbed").make(step, build).digest
    for line in range(1, 10_000):
        root = folder / f"store-{line}"
        code = outcome(fork(kill_at_line(line, lambda root=root: Store(root).make(step, build))))
        store = Store(root)
        assert_whole(store)
        written += (store.root / "work" / step.key / "output" / "card.json").exists()
        claim = store.claim(step, wait=at_once)
        artifact = claim.artifact or claim.publish(build(claim))
        assert artifact.digest == undisturbed, f"killed before line {line}"
        assert_whole(store)
        assert store.find(step) == artifact
        assert list((store.root / "work").iterdir()) == []
        if code == 0:
            return {"lines": line, "written": written}
        assert code == -signal.SIGKILL
    raise AssertionError("it never came to an end")


if __name__ == "__main__":
    print(json.dumps(kill_before_every_line(Path(sys.argv[1]))))
