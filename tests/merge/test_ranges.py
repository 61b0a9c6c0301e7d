"""A merge parted over workers writes the bytes of one process, and tells the same of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dtm.foundations.files import sha256, walk
from dtm.foundations.launch import Job, LocalLauncher
from dtm.merge.merging import execute
from dtm.merge.ranges import merge_range, plan_of, ranges, unwritten
from tests.merge.models import write_model

RANGE = "dtm.merge.ranges:merge_range"
SHARDS = 5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root, chance = tmp_path_factory.mktemp("models"), torch.Generator().manual_seed(3)
    base = {
        f"model.layers.{n}.mlp.up_proj.weight": torch.randn(24 + n, 40, generator=chance) for n in range(9)
    }
    found = [write_model(root / "base", base, SHARDS)]
    for number in range(3):
        changed = {
            name: value + 0.1 * torch.randn(value.shape, generator=chance) for name, value in base.items()
        }
        found.append(write_model(root / f"model-{number}", changed))
    return [str(folder) for folder in found]


def job_of(folders: list[str], method: str, **settings: Any) -> dict[str, Any]:
    base, *models = folders
    return {"base": base, "models": models, "method": method, "settings": settings, "weights": [0.2, 0.3, 0.5],
            "space": "weight", "export": "model", "dtype": None, "statistics": [], "seed": 7, "threads": 1,
            "device": "cpu", "inspect": True}  # fmt: skip


def finish(job: dict[str, Any], output: Path) -> dict[str, Any]:
    return execute(plan_of(job), output, seed=job["seed"], inspect=job["inspect"])


def contents(folder: Path) -> dict[str, str]:
    return {name: sha256(path) for name, path in walk(folder)}


def in_ranges(job: dict[str, Any], output: Path) -> list[dict[str, Any]]:
    """The jobs of all ranges that are missing in `output`."""
    names = unwritten(plan_of(job), output, job["seed"])
    return [{**job, "output": str(output), "shards": one} for one in names]


@pytest.mark.parametrize(
    ("method", "settings"), [("linear", {}), ("ties", {"density": 0.4}), ("dare_ties", {"density": 0.5})]
)
def test_ranges_write_the_bytes_of_one_process(
    folders: list[str], tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    job = job_of(folders, method, **settings)
    told = finish(job, tmp_path / "alone")
    parted = tmp_path / "parted"
    parted.mkdir()
    for one in reversed(in_ranges(job, parted)):  # in any order
        assert merge_range(one, progress=lambda data: None)["shards"] == len(one["shards"])
    written = {
        name: (parted / name).stat().st_ino for name in contents(parted) if name.endswith("safetensors")
    }
    assert len(written) == SHARDS
    assert finish(job, parted) == told
    assert contents(parted) == contents(tmp_path / "alone")
    assert all((parted / name).stat().st_ino == inode for name, inode in written.items())  # not written again


def test_ranges_on_workers_side_by_side(folders: list[str], tmp_path: Path) -> None:
    job, seen = job_of(folders, "dare_linear", density=0.5), dict[str, int]()
    finish(job, tmp_path / "alone")
    parted = tmp_path / "parted"
    parted.mkdir()
    launcher = LocalLauncher(workers=2)
    try:
        jobs = [
            Job(one["shards"][0], RANGE, one, str(tmp_path / f"lock.{one['shards'][0]}"))
            for one in in_ranges(job, parted)
        ]
        launcher.map(jobs, on_event=lambda event: seen.update({event.job.name: event.data.get("done", 0)}))
    finally:
        launcher.close()
    assert len(seen) == SHARDS
    finish(job, parted)
    assert contents(parted) == contents(tmp_path / "alone")


def test_a_range_goes_on_behind_its_last_whole_file(folders: list[str], tmp_path: Path) -> None:
    job = job_of(folders, "linear")
    finish(job, tmp_path / "alone")
    parted = tmp_path / "parted"
    parted.mkdir()
    first, second, *_ = in_ranges(job, parted)
    merge_range(first, progress=lambda data: None)
    (parted / (second["shards"][0] + ".partial")).write_bytes(b"half")  # what a killed worker left
    inode = (parted / first["shards"][0]).stat().st_ino
    left = in_ranges(job, parted)
    assert [one["shards"] for one in left] == ranges(plan_of(job))[1:]
    for one in left:
        merge_range(one, progress=lambda data: None)
    finish(job, parted)
    assert (parted / first["shards"][0]).stat().st_ino == inode
    assert contents(parted) == contents(tmp_path / "alone")


def test_other_weights_keep_nothing_of_a_range(folders: list[str], tmp_path: Path) -> None:
    job = job_of(folders, "linear")
    tmp_path.joinpath("parted").mkdir()
    merge_range(in_ranges(job, tmp_path / "parted")[0], progress=lambda data: None)
    other = {**job, "weights": [0.5, 0.3, 0.2]}
    assert len(in_ranges(other, tmp_path / "parted")) == SHARDS


def test_what_gathers_over_the_model_is_not_parted(folders: list[str]) -> None:
    assert len(ranges(plan_of(job_of(folders, "ties", scope="model")))) == 1
    assert len(ranges(plan_of(job_of(folders, "ties", scope="tensor")))) == SHARDS


def test_ranges_are_consecutive_and_of_about_equal_size(
    folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(job_of(folders, "linear"))
    monkeypatch.setattr("dtm.merge.ranges.MOST", 2)
    found = ranges(plan)
    sizes = {shard.name: shard.size for shard in plan.shards}
    assert [name for names in found for name in names] == list(sizes)
    assert [len(names) for names in found] in ([2, 3], [3, 2])
    assert json.dumps(found) == json.dumps(ranges(plan))
