"""Ray, on a cluster of this machine that the module starts and stops; a run on it has the bytes of a local one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from dtm.foundations.errors import DataError, MissingInput, ResourceError, WorkerError
from dtm.foundations.launch import Job, Share, signals
from tests.pipeline.conftest import RUN, content, without, write_run

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
from dtm.foundations.launch.on_ray import RayLauncher, carried  # noqa: E402

JOBS = Path(__file__).parents[1] / "foundations" / "launch"
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
         "RAY_worker_niceness": "0"}  # else 15: beside other tests it would starve  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Two cores and four GPUs that do not exist, on loopback only."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(JOBS), os.environ.get("PYTHONPATH", "")]))
        ray.init(address="local", num_cpus=2, num_gpus=4, include_dashboard=False, logging_level=logging.ERROR,
                 log_to_driver=False, _node_ip_address="127.0.0.1", object_store_memory=100 << 20)  # fmt: skip
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def launcher(cluster, tmp_path_factory):
    with RayLauncher(Share(), workers=2, log=tmp_path_factory.mktemp("logs") / "workers.log") as one:
        yield one


def test_jobs_are_queued_over_places_and_places_are_kept(launcher):
    seen = []
    jobs = [Job(str(n), "jobs:echo", {"value": n, "progress": 1}) for n in range(4)]
    results = launcher.map(jobs, on_event=lambda event: seen.append((event.job.name, event.kind)))
    assert [one["value"] for one in results] == [0, 1, 2, 3]
    for name in "0123":
        assert [kind for job, kind in seen if job == name and kind != "waiting"] == [
            "started",
            "progress",
            "done",
        ]
    again = launcher.map([Job("again", "jobs:echo")])[0]
    assert again["pid"] in {one["pid"] for one in results}


def test_errors_and_what_was_printed_come_back(launcher):
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


def test_a_worker_that_dies_is_replaced_in_its_place(launcher, tmp_path):
    job = Job("dies", "jobs:dies", {"counter": str(tmp_path / "counter"), "times": 1})
    assert launcher.map([job]) == [{"attempts": 2}]


def test_a_place_that_is_lost_is_opened_anew(launcher, tmp_path):
    seen, flag = [], tmp_path / "go"

    def on_event(event):
        seen.append((event.kind, event.data))
        if event.kind == "progress" and not flag.exists():
            flag.touch()
            parent = int(Path(f"/proc/{event.data['pid']}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(parent, signal.SIGKILL)  # the actor's process: its worker leaves with it

    assert launcher.map([Job("lost", "jobs:outlives", {"file": str(flag)})], on_event=on_event)
    assert [kind for kind, _ in seen if kind != "waiting"] == [
        "started",
        "progress",
        "retry",
        "started",
        "done",
    ]


def test_gpus_are_pinned_by_ray_and_the_share_reaches_the_worker(launcher):
    launcher.close()  # its places hold both cores
    names = ["CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"]
    with RayLauncher(Share(threads=1, gpus=2, processes=2, cpus=2), workers=1) as two:
        found = two.map([Job("env", "jobs:environment", {"names": names})])[0]
    assert len(set(found["CUDA_VISIBLE_DEVICES"].split(","))) == 2
    assert found["OMP_NUM_THREADS"] == "1"
    with (
        pytest.raises(ResourceError, match="3 CPUs, and this machine has 2"),
        RayLauncher(Share(cpus=3), address="local") as large,
    ):
        large.map([Job("large", "jobs:echo")])


def test_what_goes_along_is_where_dtm_is_and_no_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HOME", "/shared/hf")
    found = carried()
    assert found["HF_HOME"] == "/shared/hf"
    assert not any("secret" in value for value in found.values())
    assert (Path(found["PYTHONPATH"].split(os.pathsep)[0]) / "dtm" / "config.py").exists()


def test_a_run_on_ray_has_the_bytes_of_a_local_one(undisturbed, inputs, tmp_path):
    from dtm.pipeline import run

    without(undisturbed, tmp_path, "train", "merge", "evaluate", "heldout")
    text = RUN.replace("{workers: 1, threads: 1}", "{kind: ray, threads: 1}")
    run(write_run(inputs, tmp_path, text), [f"output_dir={tmp_path / 'run'}"], quiet=True)
    card = {"merged/README.md": ""}  # holds the run file, which says where it ran
    assert content(tmp_path) | card == content(undisturbed) | card


DRIVER = """
import sys
from dtm.foundations.launch import Job, Share
from dtm.foundations.launch.on_ray import RayLauncher
with RayLauncher(Share(), workers=1, address=sys.argv[1]) as launcher:
    launcher.map([Job("a", "jobs:hangs")],
                 on_event=lambda event: event.kind == "progress" and print(event.data["pid"], flush=True))
"""


def test_ctrl_c_leaves_nothing_behind():
    address = ray.get_runtime_context().gcs_address
    heeds = partial(
        signal.signal, signal.SIGINT, signal.default_int_handler
    )  # a shell's background job does not
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, address], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, preexec_fn=heeds)  # fmt: skip
    pid = int(driver.stdout.readline())
    driver.send_signal(signal.SIGINT)
    assert driver.wait(60) != 0
    driver.stdout.close()
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_a_job_keep_its_work(signum):
    """SIGTERM as well, for which Ray sets a handler of its own."""
    seen = []

    def on_event(event):
        seen.append((event.kind, event.data))
        if event.kind == "progress" and event.data["step"] == 5:
            os.kill(os.getpid(), signum)

    with RayLauncher(Share(), workers=1) as launcher:
        with signals.caught(), pytest.raises(signals.Stopped):
            launcher.map([Job("a", "jobs:heeds")], on_event=on_event)
        assert launcher.map([Job("again", "jobs:echo", {"value": 3})])[0]["value"] == 3
    steps = [data["step"] for kind, data in seen if kind == "progress"]
    assert [data["at"] for kind, data in seen if kind == "left"] == [steps[-1]]


def test_no_cluster_is_told_as_such(monkeypatch):
    """As Ray says it where no cluster runs; here one does."""

    def refuse(**settings):
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(MissingInput, match=r"no Ray cluster at 'auto'.*ray start --head"):
        RayLauncher(Share()).map([Job("a", "jobs:echo")])
