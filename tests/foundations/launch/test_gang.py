"""One job in several processes: whose answer counts, who leaves with whom; and the config that accelerate gets.

The processes are started here as torchrun would, without `accelerate launch`, which takes seconds; training under
the real one is in tests/train/test_gang.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from dtm.foundations.launch import gang, leaving

HERE = Path(__file__).parent
STARTER = """
import os, subprocess, sys
ranks = [subprocess.Popen([sys.executable, "-m", "dtm.foundations.launch.rank"],
                          env={**os.environ, "RANK": str(n), "LOCAL_RANK": str(n)}) for n in range(2)]
codes = [None, None]
while None in codes:
    codes = [rank.poll() for rank in ranks]
    if any(codes):
        for rank in ranks:
            rank.terminate()
sys.exit(1 if any(codes) else 0)
"""


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a function of jobs.py in two processes; returns what was sent, and the folders that were left."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))

    def launch(settings, folder, address):
        environment = {**os.environ, gang.ADDRESS: address}
        return subprocess.Popen([sys.executable, "-c", STARTER], env=environment, stderr=subprocess.DEVNULL,
                                start_new_session=True)  # fmt: skip

    monkeypatch.setattr(gang, "_launch", launch)

    def call(function, **arguments):
        sent = []
        message = {"function": f"jobs:{function}", "arguments": arguments, "lock": str(tmp_path / "lock"),
                   "gang": {"processes": 2, "threads": 1, "cpu": True}}  # fmt: skip
        gang.run(message, sent.append)
        assert list(tmp_path.glob("gang-*")) == []
        return sent

    return call


def test_the_first_process_speaks_for_all(run):
    sent = run("echo", value=4, progress=2)
    assert [one["event"] for one in sent] == ["progress", "progress", "done"]
    assert sent[-1]["result"]["value"] == 4


def test_a_failure_of_any_process_is_the_jobs(run):
    sent = run("in_rank", rank="1", what="fails")
    assert sent == [
        {"event": "failed", "kind": "DataError", "what": "what ✓", "where": "there:3", "mend": None}
    ]


def test_a_process_that_is_killed_makes_the_gang_die_whatever_the_others_say(run):
    sent = run("in_rank", rank="1", what="killed")
    assert sent == [{"event": "died", "reason": "a process of its gang was killed"}]


def test_a_gang_that_is_asked_to_stop_leaves_behind_a_step(run, monkeypatch):
    asked = leaving.asked
    monkeypatch.setattr(leaving, "asked", lambda: time.monotonic() > end or asked())
    end = time.monotonic() + 1.5
    sent = run("heeds")
    steps = [one["data"]["step"] for one in sent if one["event"] == "progress"]
    assert steps
    assert sent[-1] == {"event": "left", "at": steps[-1]}


def test_processes_that_never_speak_make_the_gang_die(run, monkeypatch):
    monkeypatch.setattr(gang, "_launch", lambda *_: subprocess.Popen([sys.executable, "-c", "exit(3)"]))
    assert run("echo") == [{"event": "died", "reason": "the processes of its gang left with code 3"}]


def test_the_processes_leave_with_their_worker(tmp_path):
    """The worker is killed, and neither the launcher's processes nor the ranks outlive it."""
    worker = f"""
import sys; sys.path.insert(0, {str(HERE)!r})
import test_gang, os, subprocess
from dtm.foundations.launch import gang
gang._launch = lambda s, f, a: subprocess.Popen([sys.executable, "-c", test_gang.STARTER],
                                                env={{**os.environ, gang.ADDRESS: a}}, start_new_session=True)
job = {{"function": "jobs:hangs", "arguments": {{}}, "lock": None, "gang": {{}}}}
gang.run(job, lambda message: print(message["data"]["pid"], flush=True))
"""
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        "TMPDIR": str(tmp_path),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", worker], stdout=subprocess.PIPE, text=True, env=environment
    )
    rank = int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 20
    while _runs(rank):
        assert time.monotonic() < end
        time.sleep(0.02)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("own", "kind"), [
    (None, "MULTI_GPU"), ({"distributed_type": "MULTI_CPU"}, "MULTI_GPU"), ({"distributed_type": "FSDP"}, "FSDP"),
])  # fmt: skip
def test_accelerate_gets_a_whole_config_with_our_places(own, kind):
    """So that it never reads the user's default file, which no key of the store knows."""
    from accelerate.commands.config.config_args import ClusterConfig

    found = gang.accelerate_config({
        "processes": 8, "threads": 2, "cpu": False, "accelerate": own, "nodes": 2, "node": 1, "address": "10.0.0.7",
        "port": 5123,
    })  # fmt: skip
    read = ClusterConfig(**yaml.safe_load(yaml.safe_dump(found)))
    assert (read.num_processes, read.num_machines, read.machine_rank) == (8, 2, 1)
    assert (read.main_process_ip, read.main_process_port, read.use_cpu) == ("10.0.0.7", 5123, False)
    assert read.distributed_type == kind
