import json
import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from dtm.foundations.speed import Speed
from dtm.pipeline import journal as journals
from dtm.pipeline.display import Display
from dtm.pipeline.journal import Journal
from dtm.pipeline.opened import Local


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(journals.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(journals, "Speed", partial(Speed, clock=lambda: now[0]))
    return now


def test_progress_is_a_line_a_second_and_the_last_step_always(tmp_path, clock):
    journal = Journal(tmp_path)
    journal.begin()
    for step in range(1, 101):
        clock[0] += 0.1
        journal.progress("submodel-0", {"stage": "training", "step": step, "steps": 100})
    steps = [line["at"] for line in lines(tmp_path / "logs/submodel-0.jsonl")]
    assert steps == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100]
    assert [line["event"] for line in lines(tmp_path / "log.jsonl")] == ["run"], (
        "progress is in the step's log alone"
    )


def test_what_counts_without_a_speed_of_its_own_gets_one(tmp_path, clock):
    journal = Journal(tmp_path)
    told = []
    for done in (10, 20, 40):
        told.append(journal.progress("load", {"done": done, "total": 100})["seconds_left"])
        clock[0] += 2
    assert told == [None, 80 / 5, 60 / 7.5]


def test_a_line_is_whole_though_the_one_before_was_torn(tmp_path):
    journal = Journal(tmp_path)
    journal.begin()
    with open(tmp_path / "log.jsonl", "ab") as log:
        log.write(b'{"time": "2026-')
    journal.event("start", "load", kind="load")
    first, torn, last = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(first)["event"] == "run"
    assert torn == '{"time": "2026-'
    assert json.loads(last)["step"] == "load"


def test_names_of_logs_stay_in_their_folder(tmp_path):
    for label in ("../../etc/passwd", "a/b", "base arc_easy", "x" * 500):
        path = (tmp_path / Journal.name(label, "jsonl")).resolve()
        assert path.parent == tmp_path / "logs"
        assert len(path.name) < 255


def test_a_log_that_cannot_be_written_costs_no_work(tmp_path):
    (tmp_path / "logs").write_text("a file where the folder should be")
    (tmp_path / "log.jsonl").mkdir()
    with Display(tmp_path, quiet=True).working("dtm run"):
        pass


KILLED = """
import os, signal, sys
from pathlib import Path
from dtm.pipeline.journal import Journal
Journal(Path(sys.argv[1])).begin()
print("began", flush=True)
sys.stdin.read()
"""


def test_the_drivers_lock_falls_with_its_process(tmp_path):
    folder = Local(tmp_path)
    assert folder.held() is False
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        assert driver.stdout.readline() == b"began\n"
        assert folder.held() is True
        second = Journal(tmp_path)  # a second command on the folder waits for nobody
        second.begin()
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    assert folder.held() is True
    second.end("end")
    assert folder.held() is False
