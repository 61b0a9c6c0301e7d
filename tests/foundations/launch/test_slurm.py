"""The Slurm launcher over submitit's own stand-in for Slurm, which runs the jobs here; real Slurm never ran."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from dtm.foundations.errors import DataError, MissingInput, WorkerError
from dtm.foundations.launch import Job, Share

submitit = pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
from dtm.foundations.launch import on_slurm  # noqa: E402
from dtm.foundations.launch.on_slurm import SlurmLauncher, known_settings  # noqa: E402

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
        )
        log = tmp_path_factory.mktemp("run") / "workers.log"
        with SlurmLauncher(Share(threads=3), workers=1, address="local", log=log) as one:
            yield one
    assert [path.name for path in log.parent.iterdir()] == ["workers.log"]  # its folder of jobs is gone


def test_jobs_go_to_a_place_and_their_answers_come_back(launcher):
    seen = []
    jobs = [Job(str(number), "jobs:echo", {"value": number, "progress": 2}) for number in range(2)]
    first, second = launcher.map(jobs, on_event=lambda event: seen.append((event.job.name, event.kind)))
    assert (first["value"], second["value"]) == (0, 1)
    assert first["pid"] == second["pid"] != os.getpid()
    told = [one for one in seen if one[1] != "waiting"]
    assert told == [(name, kind) for name in "01" for kind in ("started", "progress", "progress", "done")]
    names = ["OMP_NUM_THREADS", "SUBMITIT_EXECUTOR"]
    assert launcher.map([Job("env", "jobs:environment", {"names": names})]) == [
        {"OMP_NUM_THREADS": "3", "SUBMITIT_EXECUTOR": "local"}
    ]


def test_errors_come_back_and_the_log_is_the_drivers(launcher):
    with pytest.raises(DataError, match="what ✓"):
        launcher.map([Job("bad", "jobs:fails", {"kind": "DataError"})])
    with pytest.raises(WorkerError, match="KeyError"):
        launcher.map([Job("worse", "jobs:crashes", {"kind": "KeyError"})])
    assert "in crashes" in launcher.log.read_text()


def test_what_a_job_prints_comes_into_its_own_log_here(launcher, tmp_path):
    log = tmp_path / "logs" / "late.log"
    with pytest.raises(WorkerError, match="KeyError") as caught:
        launcher.map([Job("late", "jobs:crashes_late", {"lines": 3}, log=str(log))])
    assert "line 0\nline 1\nline 2\n" in log.read_text()
    assert caught.value.message.endswith("    | KeyError: 'no such thing'")
    assert caught.value.where == str(log)


def test_a_worker_that_dies_is_replaced_in_its_place(launcher, tmp_path):
    seen = []
    job = Job("dies", "jobs:dies", {"counter": str(tmp_path / "counter"), "times": 1})
    assert launcher.map([job], on_event=lambda event: seen.append((event.kind, event.data))) == [
        {"attempts": 2}
    ]
    pids = [data["pid"] for kind, data in seen if kind == "started"]
    assert len(set(pids)) == 2
    assert ("retry", {"reason": "signal 9"}) in seen


def test_a_place_leaves_when_its_driver_falls_silent(tmp_path, monkeypatch):
    silence = on_slurm._Silence(tmp_path / "alive")
    assert not silence.lasts()
    monkeypatch.setattr(on_slurm, "SILENCE", 0.1)
    time.sleep(0.15)
    assert silence.lasts()
    (tmp_path / "alive").write_text("1")
    assert not silence.lasts()


def test_without_slurm_the_error_says_so(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingInput, match="no sbatch"):
        SlurmLauncher(Share())


def test_settings_are_submitits_but_for_what_the_share_says():
    known = known_settings()
    assert {"partition", "time", "account", "qos"} <= set(known)
    assert not {"nodes", "cpus_per_task", "gpus_per_node"} & set(known)
