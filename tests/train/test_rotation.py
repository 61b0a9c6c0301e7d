"""Which checkpoints stay: by their steps, whatever the clock says."""

from __future__ import annotations

import os

import pytest

from dtm.train.checkpoints import keep_newest, latest, stamp


@pytest.fixture
def scratch(tmp_path):
    """Three checkpoints, the newest written after the clock was set back by an hour."""
    for number, step in enumerate((8, 9, 10)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "state").write_text(str(step))
        stamp(folder)
        os.utime(folder, (10_000 - 3600 * number,) * 2)
    return tmp_path


@pytest.mark.parametrize(
    ("count", "kept"), [(1, {10}), (2, {9, 10}), (5, {8, 9, 10}), (0, {8, 9, 10}), (None, {8, 9, 10})]
)
def test_the_newest_by_their_steps_stay(scratch, count, kept):
    keep_newest(scratch, count)
    assert {int(path.name.partition("-")[2]) for path in scratch.iterdir()} == kept
    assert latest(scratch).name == "checkpoint-10"
