"""Memory and disks that do not suffice: told once, with what to change, and not tried again in vain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dtm.foundations.errors import ResourceError, WorkerError
from dtm.foundations.launch import Job, LocalLauncher, memory

HERE = Path(__file__).parent


@pytest.fixture
def launcher(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    with LocalLauncher() as one:
        yield one


def test_an_allocation_that_fails_is_not_tried_again_and_says_what_to_change(launcher, tmp_path):
    job = Job("submodel-1", "jobs:allocates", {"counter": str(tmp_path / "counter")})
    with pytest.raises(
        memory.OutOfMemory, match=r"submodel-1 ran out of memory: .*can't allocate memory"
    ) as caught:
        launcher.map([job])
    assert (tmp_path / "counter").read_text() == "x"
    for setting in ("per_device_train_batch_size", "gradient_checkpointing", "max_length", "launch.workers"):
        assert setting in caught.value.message


@pytest.mark.parametrize(
    ("rises", "attempts", "error"), [(True, 2, memory.OutOfMemory), (False, 3, WorkerError)]
)
def test_a_worker_that_the_kernel_ends_for_want_of_memory(
    launcher, tmp_path, monkeypatch, rises, attempts, error
):
    counted = iter(range(100))
    monkeypatch.setattr(memory, "kills", lambda: next(counted) if rises else 7)
    counter = tmp_path / "counter"
    with pytest.raises(error) as caught:
        launcher.map([Job("submodel-1", "jobs:dies", {"counter": str(counter), "times": 9})])
    assert len(counter.read_text()) == attempts
    assert "per_device_train_batch_size" in caught.value.message
    assert ("the kernel ended its worker 2 times" in caught.value.message) == rises


def test_one_such_death_may_be_anothers_fault(launcher, tmp_path, monkeypatch):
    counted = iter(range(100))
    monkeypatch.setattr(memory, "kills", lambda: next(counted))
    job = Job("submodel-1", "jobs:dies", {"counter": str(tmp_path / "counter"), "times": 1})
    assert launcher.map([job]) == [{"attempts": 2}]


def test_a_full_disk_is_told_as_such(launcher):
    with pytest.raises(ResourceError, match=r"submodel-1 could not write: .*No space left.*dtm gc") as caught:
        launcher.map([Job("submodel-1", "jobs:fills")])
    assert not isinstance(caught.value, memory.OutOfMemory)


def test_what_the_kernel_counts_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "STATISTICS", tmp_path / "vmstat")
    assert memory.kills() == 0
    (tmp_path / "vmstat").write_text("pgfault 12\noom_kill 3\n")
    assert memory.kills() == 3
    (tmp_path / "memory.events").write_text("low 0\noom 9\noom_kill 5\noom_group_kill 0\n")
    assert memory.kills() == 5


@pytest.mark.parametrize(("error", "is_oom"), [
    (MemoryError(), True), (OSError(12, "Cannot allocate memory"), True), (OSError(28, "No space left"), False),
    (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), True),
    (RuntimeError("shape mismatch"), False), (ValueError("the prompt says: out of memory"), False),
])  # fmt: skip
def test_only_a_failed_allocation_is_one(error, is_oom):
    assert memory.is_oom(error) == is_oom
