import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dtm.foundations import errors
from dtm.foundations.errors import DtmError, ResourceError, TrainingError, WorkerError
from dtm.foundations.launch import Job, LocalLauncher

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def jobs_can_be_imported(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
def launcher(tmp_path):
    with LocalLauncher(workers=1, threads=1, log=tmp_path / "logs" / "worker.log") as one:
        yield one


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE))
        with LocalLauncher(workers=1, log=tmp_path_factory.mktemp("logs") / "log") as one:
            one.map([Job("warm", "jobs:echo")])
            yield one


def job(function, name="a job", lock=None, **arguments):
    return Job(name, f"jobs:{function}", arguments, lock)


def is_alive(pid):
    """Whether the process runs; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def is_free(file):
    """Whether nobody holds a lock on it; from then on we do."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_results_are_in_the_order_of_the_jobs_not_of_their_ends(tmp_path):
    ended = []
    with LocalLauncher(workers=2, threads=1) as launcher:
        jobs = [job("echo", value=value, seconds=seconds) for value, seconds in ((0, 0.5), (1, 0), (2, 0))]
        results = launcher.map(jobs, on_done=lambda job, result: ended.append(result["value"]))
    assert [result["value"] for result in results] == [0, 1, 2]
    assert ended == [1, 2, 0]
    assert len({result["pid"] for result in results}) == 2


def test_events_tell_the_story_in_order(launcher):
    seen, threads = [], set()

    def on_event(event):
        seen.append((event.kind, event.data))
        threads.add(threading.current_thread())

    result = launcher.map([job("echo", progress=2, value="é\n")], on_event=on_event)[0]
    assert seen == [
        ("started", {"attempt": 1, "pid": result["pid"], "host": socket.gethostname(), "gpus": None}),
        ("progress", {"number": 0, "event": "a key of ours"}),
        ("progress", {"number": 1, "event": "a key of ours"}),
        ("done", {"result": result}),
    ]
    assert threads == {threading.current_thread()}
    assert result["value"] == "é\n"


def test_no_jobs_start_no_worker(launcher):
    assert launcher.map([]) == []
    assert launcher._places == [None]


def test_workers_are_kept_between_jobs_and_maps(launcher):
    pids = {result["pid"] for _ in range(2) for result in launcher.map([job("echo"), job("echo")])}
    assert len(pids) == 1
    assert pids != {os.getpid()}


def test_workers_that_were_warmed_take_the_next_jobs(tmp_path):
    with LocalLauncher(workers=2, log=tmp_path / "log") as launcher:
        launcher.warm("jobs:echo")
        launcher.warm("jobs:echo")  # once is enough
        warmed = {place.where["pid"] for place in launcher._places if place}
        found = launcher.map([job("echo", seconds=0.2), job("echo", seconds=0.2)])
        assert warmed <= {one["pid"] for one in found}
        assert len({one["pid"] for one in found}) == 2


@pytest.mark.parametrize("function", ["crashes", "nowhere"])
def test_what_goes_wrong_in_warming_is_told_by_no_other_job(launcher, function):
    launcher.warm(f"jobs:{function}")
    assert launcher.map([job("echo", value=3)])[0]["value"] == 3


def test_a_launcher_that_is_closed_while_it_warms_leaves_no_worker(tmp_path):
    launcher = LocalLauncher(workers=2, log=tmp_path / "log")
    launcher.warm("jobs:sleeps")
    wait_until(lambda: all(launcher._places))
    pids = [place.where["pid"] for place in launcher._places]
    launcher.close()
    wait_until(lambda: not any(map(is_alive, pids)))


@pytest.mark.parametrize(
    "kind", [kind for kind in DtmError.__subclasses__() if kind.__module__ == errors.__name__]
)
@pytest.mark.parametrize("mend", [None, "Do that"])
def test_a_users_error_comes_back_as_it_was(kept, kind, mend):
    with pytest.raises(DtmError) as caught:
        kept.map([job("fails", kind=kind.__name__, mend=mend)])
    error = caught.value
    assert (type(error), error.what, error.where, error.mend) == (kind, "what ✓", "there:3", mend)


def test_an_error_class_that_only_the_worker_knows_comes_as_its_base(launcher):
    with pytest.raises(DtmError, match="what") as caught:
        launcher.map([job("fails", kind="VeryParticular")])
    assert type(caught.value) is TrainingError


def test_a_crash_names_the_log_and_the_log_has_the_traceback(launcher):
    seen = []
    with pytest.raises(WorkerError, match="sub-model 3: KeyError: 'no such thing'") as caught:
        launcher.map([job("crashes", "sub-model 3", kind="KeyError")], on_event=lambda e: seen.append(e.kind))
    assert caught.value.where == str(launcher.log)
    log = launcher.log.read_text()
    assert "Traceback" in log
    assert "in crashes" in log
    assert seen == ["started", "failed"]
    assert launcher.map([job("echo", value=1)])[0]["value"] == 1


def test_each_job_prints_into_its_own_log_though_one_worker_does_both(launcher, tmp_path):
    logs = [tmp_path / "logs" / f"{name}.log" for name in ("one", "two")]
    launcher.map(
        [
            Job("one", "jobs:prints", log=str(logs[0])),
            Job("two", "jobs:says", {"text": "hello"}, log=str(logs[1])),
        ]
    )
    launcher.map([job("says", text="of no log")])
    one, two = (log.read_text() for log in logs)
    heading, *rest = one.splitlines()
    assert heading.startswith("--- ")
    assert f"attempt 1 on {socket.gethostname()}, process" in heading
    assert rest == ["printed", '{"event": "done", "result": "from a C library"}']
    assert two.splitlines()[1:] == ["hello", "hello, from a child"]
    assert launcher.log.read_text() == "of no log\nof no log, from a child\n"


def test_an_error_shows_the_last_lines_of_its_own_job(launcher, tmp_path):
    log = tmp_path / "logs" / "sub-model 3.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("of an earlier command\n")
    with pytest.raises(WorkerError) as caught:
        launcher.map(
            [
                job("says", text="of another"),
                Job("sub-model 3", "jobs:crashes_late", {"lines": 30}, log=str(log)),
            ]
        )
    assert caught.value.where == str(log)
    shown = [
        line.removeprefix("    | ") for line in caught.value.message.splitlines() if line.startswith("    | ")
    ]
    assert len(shown) == 12
    assert shown == [line for line in log.read_text().splitlines() if line.strip(" ^~")][-12:]
    assert shown[-1] == "KeyError: 'no such thing'"
    assert "of another" not in caught.value.message


def test_a_worker_that_dies_again_and_again_shows_what_it_said_last(launcher, tmp_path):
    log = tmp_path / "logs" / "bad.log"
    with pytest.raises(WorkerError, match="died 3 times") as caught:
        launcher.map(
            [Job("bad", "jobs:says_and_dies", {"text": "\rbar 1%\rbar 9%\nabout to die"}, log=str(log))]
        )
    assert len(caught.value.last) == 2, "of the last attempt alone, and of a bar its last state"
    assert caught.value.message.endswith("    | bar 9%\n    | about to die")
    assert log.read_text().count("--- ") == 3


def test_a_log_that_cannot_be_written_costs_no_work(launcher, tmp_path):
    (tmp_path / "file").write_text("")
    unwritable = str(tmp_path / "file" / "log")
    assert launcher.map([Job("one", "jobs:echo", {"value": 1}, log=unwritable)])[0]["value"] == 1
    with pytest.raises(WorkerError, match="KeyError"):
        launcher.map([Job("one", "jobs:crashes", {"kind": "KeyError"}, log=unwritable)])


@pytest.mark.parametrize("kind", ["MemoryError", "OutOfMemory"])
def test_memory_that_does_not_suffice_is_a_resource_error(launcher, kind):
    with pytest.raises(ResourceError, match="ran out of memory") as caught:
        launcher.map([job("crashes", "sub-model 3", kind=kind)])
    assert "per_device_train_batch_size" in caught.value.message


@pytest.mark.parametrize(("function", "arguments", "text"), [
    ("crashes", {"kind": "SystemExit"}, "SystemExit: 3"),
    ("returns_no_json", {}, "TypeError: .*set is not JSON"),
    ("no_such_function", {}, "AttributeError"),
])  # fmt: skip
def test_other_ways_to_crash(launcher, function, arguments, text):
    with pytest.raises(WorkerError, match=text):
        launcher.map([job(function, **arguments)])
    assert launcher.map([job("echo", value=1)])[0]["value"] == 1


def test_what_libraries_print_goes_to_the_log_not_into_the_answers(launcher):
    assert launcher.map([job("prints")]) == ["the true result"]
    assert "printed" in launcher.log.read_text()
    assert "from a C library" in launcher.log.read_text()


def test_a_worker_that_is_killed_is_replaced_and_its_job_done_again(launcher, tmp_path):
    seen = []
    counter = str(tmp_path / "counter")
    before = launcher.map([job("echo")])[0]["pid"]
    jobs = [job("dies", counter=counter, times=2), job("echo")]
    first, second = launcher.map(jobs, on_event=lambda event: seen.append((event.kind, event.data)))
    assert first == {"attempts": 3}
    assert second["pid"] != before
    assert [kind for kind, _ in seen[:6]] == ["started", "retry", "started", "retry", "started", "done"]
    assert seen[1][1] == {"reason": "signal 9"}
    assert [data["attempt"] for kind, data in seen if kind == "started"] == [1, 2, 3, 1]


def test_after_three_deaths_the_job_fails_and_the_others_are_finished(launcher, tmp_path):
    done = []
    with pytest.raises(WorkerError, match=r"bad died 3 times \(signal 9\)") as caught:
        launcher.map(
            [job("dies", "bad", counter=str(tmp_path / "counter"), times=99), job("echo", "good", value=1)],
            on_done=lambda job, result: done.append((job.name, result["value"])),
        )
    assert (tmp_path / "counter").read_text() == "xxx"
    assert done == [("good", 1)]
    assert caught.value.where == str(launcher.log)


def test_a_worker_that_leaves_by_itself_counts_as_dead(launcher):
    with pytest.raises(WorkerError, match="exit code 7"):
        launcher.map([job("leaves")])


@pytest.mark.parametrize("size", [1, 300_000])
def test_a_kept_worker_that_died_between_two_maps_is_replaced(launcher, size):
    """The job cannot even be handed over; `size` beyond the pipe's own makes the write itself fail."""
    pid = launcher.map([job("echo")])[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    assert launcher.map([job("echo", value="x" * size)])[0]["value"] == "x" * size


def test_an_error_of_on_done_is_that_jobs_failure_and_the_others_go_on(launcher):
    done, seen = [], []

    def on_done(job, result):
        if job.name == "first":
            raise ResourceError("the disk is full")
        done.append(job.name)

    with pytest.raises(ResourceError, match="disk is full"):
        launcher.map(
            [job("echo", "first"), job("echo", "second")], on_done=on_done,
            on_event=lambda event: seen.append((event.job.name, event.kind)),
        )  # fmt: skip
    assert done == ["second"]
    assert ("first", "failed") in seen
    assert ("first", "done") not in seen


def test_the_jobs_lock_is_held_while_it_runs_and_no_longer(launcher, tmp_path):
    lock = tmp_path / "lock"
    assert launcher.map([job("is_locked", lock=str(lock), path=str(lock))]) == [True]
    with open(lock) as file:  # the worker answers, and then lets it go
        wait_until(lambda: is_free(file))
    assert launcher.map([job("is_locked", path=str(lock))]) == [False]


def test_a_job_waits_for_an_orphan_that_still_holds_its_lock(launcher, tmp_path):
    lock, order = tmp_path / "lock", []
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def let_go():
            order.append("released")
            fcntl.flock(file, fcntl.LOCK_UN)

        threading.Timer(0.4, let_go).start()
        launcher.map([job("echo", lock=str(lock))], on_done=lambda job, result: order.append("done"))
    assert order == ["released", "done"]


def test_threads_are_set_before_anything_is_imported(tmp_path):
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY"]
    with LocalLauncher(workers=1, threads=3) as launcher:
        found = launcher.map([job("environment", names=names)])[0]
    assert list(found.values()) == ["3", "3", "3", "passive"]


def test_close_ends_a_busy_worker_and_starts_no_other():
    launcher, told, seen = LocalLauncher(workers=1, threads=1), threading.Event(), []

    def run():
        def on_event(event):
            seen.append((event.job.name, event.kind))
            if event.kind == "progress":
                told.set()

        with contextlib.suppress(WorkerError):
            launcher.map([job("hangs", "busy"), job("echo", "waiting")], on_event=on_event)
        seen.append("returned")

    thread = threading.Thread(target=run)
    thread.start()
    assert told.wait(20)
    pid = launcher._places[0].where["pid"]
    started = time.monotonic()
    launcher.close()
    assert time.monotonic() - started < 4  # it left by itself, and was not killed after five seconds
    assert not is_alive(pid)
    thread.join(10)
    assert seen == [
        ("busy", "started"),
        ("busy", "progress"),
        ("busy", "failed"),
        ("waiting", "failed"),
        "returned",
    ]


def test_a_closed_launcher_says_so():
    launcher = LocalLauncher(workers=1)
    launcher.close()
    launcher.close()
    with pytest.raises(WorkerError, match="its launcher is closed"):
        launcher.map([job("echo")])


DRIVER = """
import sys
from dtm.foundations.launch import Job, LocalLauncher
launcher = LocalLauncher(workers=2, threads=1)
launcher.map([Job("a", "jobs:hangs"), Job("b", "jobs:waits_for", {"file": "/nonexistent"})],
             on_event=lambda event: print(event.data["pid"], flush=True) if event.kind == "progress" else None)
"""


def test_a_driver_that_is_killed_leaves_no_orphan():
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True)
    pids = [int(driver.stdout.readline()) for _ in range(2)]
    assert all(is_alive(pid) for pid in pids)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    wait_until(lambda: not any(is_alive(pid) for pid in pids), seconds=5)


def test_works_from_a_script_without_a_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from dtm.foundations.launch import Job, LocalLauncher\n"
        "with LocalLauncher() as launcher:\n"
        "    print(launcher.map([Job('a', 'jobs:echo', {'value': 5})])[0]['value'])\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("5\n", 0), done.stderr
