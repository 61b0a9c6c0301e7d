"""What a training leaves on its way, made safe: a folder counts once it carries the digests of its files.

Below a scratch folder stand the trainer's own `checkpoint-STEP/`, from which a killed training goes on, and
`points/STEP/`, models that were asked for along the way, with `points/plan.json`: at which steps.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path

from dtm.foundations.files import read_json, sha256, walk, write_json

STAMP = "dtm-digests.json"
POINTS, PLAN = "points", "plan.json"


def stamp(checkpoint: Path) -> None:
    """Write the digests of a finished checkpoint's files, last."""
    write_json(checkpoint / STAMP, {name: sha256(path) for name, path in walk(checkpoint) if name != STAMP})


def latest(scratch: Path) -> Path | None:
    """The newest checkpoint that is whole, or None."""
    whole = [path for path in _all(scratch) if is_whole(path)]
    return whole[-1] if whole else None


def discard_broken(scratch: Path) -> list[Path]:
    """Delete checkpoints from which training cannot go on, and return them: their steps are done again.

    They were cut short or changed on disk, or a point that was to be kept before them is not whole.
    """
    lost = [step for step in planned_points(scratch) if not is_whole(scratch / POINTS / str(step))]
    first = min(lost, default=None)
    broken = [path for path in _all(scratch)
              if not is_whole(path) or (first is not None and step_of(path) >= first)]  # fmt: skip
    for path in broken:
        shutil.rmtree(path)
    return broken


def keep_newest(scratch: Path, count: int | None) -> None:
    """Delete all checkpoints but the last `count`, by their steps; None or 0 keeps all."""
    for path in _all(scratch)[:-count] if count and count > 0 else []:
        shutil.rmtree(path)


def points_of(shares: Sequence[str], steps: int) -> dict[str, int]:
    """For each share of `steps` optimizer steps, such as `3/10`, the first step at which it is reached."""
    return {share: max(1, ceil(Fraction(share) * steps)) for share in shares}


def planned_points(scratch: Path) -> list[int]:
    """The steps at which points are kept, as `plan_points` wrote them."""
    try:
        return sorted(set(read_json(scratch / POINTS / PLAN)))
    except (OSError, ValueError):
        return []


def plan_points(scratch: Path, steps: list[int]) -> None:
    """Say at which steps points are kept, before the first."""
    (scratch / POINTS).mkdir(exist_ok=True)
    write_json(scratch / POINTS / PLAN, steps)


def keep_point(scratch: Path, step: int, save: Callable[[Path], None]) -> None:
    """Let `save` write a model into a folder, which becomes `points/STEP` once it is whole."""
    target = scratch / POINTS / str(step)
    if is_whole(target):
        return
    partial = target.with_name(f".{step}")
    for left in (partial, target):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir()
    save(partial)
    stamp(partial)
    os.rename(partial, target)


def is_whole(checkpoint: Path) -> bool:
    """Whether it carries a stamp and all files have the digests that it names."""
    try:
        digests = read_json(checkpoint / STAMP)
        return all(sha256(checkpoint / name) == digest for name, digest in digests.items())
    except (OSError, ValueError, AttributeError):
        return False


def _all(scratch: Path) -> list[Path]:
    found = [path for path in scratch.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
