"""The trainer's checkpoints, made safe: a checkpoint counts once it carries the digests of its files."""

from __future__ import annotations

import shutil
from pathlib import Path

from dtm.foundations.files import read_json, sha256, walk, write_json

STAMP = "dtm-digests.json"


def stamp(checkpoint: Path) -> None:
    """Write the digests of a finished checkpoint's files, last."""
    write_json(checkpoint / STAMP, {name: sha256(path) for name, path in walk(checkpoint) if name != STAMP})


def latest(scratch: Path) -> Path | None:
    """The newest checkpoint that is whole, or None."""
    whole = [path for path in _all(scratch) if is_whole(path)]
    return whole[-1] if whole else None


def discard_broken(scratch: Path) -> list[Path]:
    """Delete checkpoints that were cut short or changed on disk: training redoes those steps."""
    broken = [path for path in _all(scratch) if not is_whole(path)]
    for path in broken:
        shutil.rmtree(path)
    return broken


def is_whole(checkpoint: Path) -> bool:
    """Whether it carries a stamp and all files have the digests that it names."""
    try:
        digests = read_json(checkpoint / STAMP)
        return all(sha256(checkpoint / name) == digest for name, digest in digests.items())
    except (OSError, ValueError, AttributeError):
        return False


def _all(scratch: Path) -> list[Path]:
    found = [path for path in scratch.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))
