"""`dtm status` over logs that were made up, over those of processes that were killed, and on a terminal."""

import fcntl
import io
import json
import os
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from dtm.cli import app
from dtm.foundations.errors import MissingInput
from dtm.pipeline import status as statuses
from dtm.pipeline import watching
from dtm.pipeline.journal import LOCK, Journal
from dtm.pipeline.status import STAGE_OF, ok, status_of
from tests.pipeline.conftest import content, without, write_run

BEGAN = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def at(seconds):
    return (BEGAN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


class Made:
    """A run's folder, written line by line at the times that a test says."""

    def __init__(self, path):
        self.path = path
        (path / "logs").mkdir(parents=True)

    def line(self, when, event, step="", /, own=False, **data):
        text = json.dumps({"time": at(when), "event": event, "step": step, **data}) + "\n"
        names = ["log.jsonl"] if event != "progress" else []
        for name in [*names, *([Journal.name(step, "jsonl")] if own or event == "progress" else [])]:
            with open(self.path / name, "a") as file:
                file.write(text)

    def begin(self, when=0, **data):
        told = {"command": "dtm run run.yaml", "recipe": "disperse_then_merge", "until": "evaluate",
                "launch": "local", "workers": 2, "host": os.uname().nodename, "pid": 77}  # fmt: skip
        self.line(when, "run", **{**told, **data})


@pytest.fixture
def run(tmp_path):
    return Made(tmp_path / "run")


@pytest.fixture
def training(run):
    """Three sub-models on two workers: one is done, one half way after a death, one waits."""
    run.begin()
    run.line(1, "start", "load", kind="load", what="reading the data")
    run.line(3, "done", "load", kind="load", seconds=2.0)
    run.line(3, "reused", "disperse", kind="disperse", seconds=9.0)
    for number in range(3):
        run.line(4, "queued", f"submodel-{number}", own=True, kind="train", steps=100, what="50 rows")
    for number, pid in ((0, 11), (1, 12)):
        run.line(
            5, "started", f"submodel-{number}", own=True, host="node-a", pid=pid, gpus=str(number), attempt=1
        )
    run.line(30, "progress", "submodel-0", stage="training", at=100, steps=100, loss=1.25, tokens=5000,
             tokens_per_second=200.0, seconds_left=0.0)  # fmt: skip
    run.line(31, "done", "submodel-0", own=True, kind="train", seconds=26.0, steps=100, tokens=4000)
    run.line(32, "retry", "submodel-1", own=True, reason="signal 9")
    run.line(33, "started", "submodel-1", own=True, host="node-b", pid=13, gpus="1", attempt=2)
    run.line(34, "resuming", "submodel-1", own=True, at=40)
    for step, left in ((41, None), (50, 25.0)):
        run.line(40 + step, "progress", "submodel-1", stage="training", at=step, steps=100, loss=2.0,
                 learning_rate=1e-4, tokens=50 * step, tokens_per_second=100.5, seconds_left=left)  # fmt: skip
    return run


def test_a_run_that_trains(training):
    held = os.open(training.path / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_SH)
    found = status_of(training.path, now=BEGAN + timedelta(seconds=100))
    assert (found["state"], found["reason"], ok(found)) == ("running", None, True)
    assert (found["seconds"], found["silent_seconds"]) == (100.0, 10.0)
    states = {step["name"]: step["state"] for step in found["steps"]}
    assert states == {"load": "done", "disperse": "reused", "submodel-0": "done", "submodel-1": "running",
                      "submodel-2": "waiting"}  # fmt: skip
    one = next(step for step in found["steps"] if step["name"] == "submodel-1")
    assert {name: one[name] for name in ("step", "steps", "loss", "learning_rate", "tokens", "tokens_per_second",
                                         "seconds_left", "host", "pid", "gpus", "attempt", "log")} == {
        "step": 50, "steps": 100, "loss": 2.0, "learning_rate": 1e-4, "tokens": 2500, "tokens_per_second": 100.5,
        "seconds_left": 25.0, "host": "node-b", "pid": 13, "gpus": "1", "attempt": 2, "log": "logs/submodel-1.log",
    }  # fmt: skip
    # Two workers, one of them free: the third sub-model takes 100 steps of half a second.
    assert found["seconds_left"] == 50.0
    stages = {stage["stage"]: (stage["state"], stage["ended"], stage["steps"], stage["seconds"])
              for stage in found["stages"]}  # fmt: skip
    assert stages == {
        "data": ("done", 1, 1, 2.0), "disperse": ("reused", 1, 1, 0.0), "train": ("running", 1, 3, 96.0),
        "merge": ("waiting", 0, 0, None), "evaluate": ("waiting", 0, 0, None),
    }  # fmt: skip
    os.close(held)


def test_a_driver_that_is_gone_has_stopped_and_so_have_its_steps(training):
    found = status_of(training.path, now=BEGAN + timedelta(seconds=1000))
    assert (found["state"], found["reason"], ok(found)) == ("stopped", "its process is gone", False)
    assert found["seconds"] == 90.0
    assert found["seconds_left"] is found["silent_seconds"] is None
    assert [step["state"] for step in found["steps"]] == ["done", "reused", "done", "stopped", "stopped"]
    assert [stage["stage"] for stage in found["stages"]] == ["data", "disperse", "train"]
    assert "ended without a word" in watching.sentence(found)
    assert "\ndtm run run.yaml goes on from here" in watching.sentence(found)


@pytest.mark.parametrize(("age", "state"), [(5, "running"), (120, "unknown")])
def test_a_driver_of_another_machine_is_judged_by_its_last_sign(run, age, state):
    run.begin(host="elsewhere")
    run.line(10, "start", "load", kind="load")
    found = status_of(run.path, now=BEGAN + timedelta(seconds=10 + age))
    assert (found["state"], found["silent_seconds"]) == (state, float(age))


@pytest.mark.parametrize(("last", "state", "told"), [
    ("end", "finished", "finished in 9.0 s"), ("failed", "failed", "failed after 9.0 s\ndtm run run.yaml goes on"),
    ("stopped", "stopped", "stopped after 9.0 s\ndtm run run.yaml goes on"),
])  # fmt: skip
def test_how_it_ended(run, last, state, told):
    run.begin()
    run.line(1, "start", "load", kind="load")
    run.line(9, last, reason="there: it broke")
    found = status_of(run.path)
    assert (found["state"], found["reason"]) == (state, "there: it broke")
    assert watching.sentence(found).startswith(told)


def test_only_the_last_command_counts_and_torn_lines_do_not(run):
    run.begin()
    run.line(1, "start", "load", kind="load")
    run.line(2, "end")
    with open(run.path / "log.jsonl", "a") as log:
        log.write(
            '{"time": "2026-11-27T12:00\n\x00\x00\n[1]\n{"event": "run"}\n{"time": 12, "event": "run", "step": ""}\n'
        )
    run.begin(10, until="train")
    run.line(11, "reused", "load", kind="load", seconds=1.0)
    with open(run.path / "log.jsonl", "a") as log:
        log.write('{"time": "' + at(12) + '", "event": "done", "st')
    found = status_of(run.path)
    assert [(step["name"], step["state"]) for step in found["steps"]] == [("load", "reused")]
    assert found["started"] == at(10)


def test_progress_of_an_earlier_command_is_not_this_ones(run):
    run.begin()
    run.line(1, "queued", "submodel-0", own=True, kind="train", steps=10)
    run.line(2, "progress", "submodel-0", stage="training", at=9, steps=10, loss=0.1)
    run.begin(100)
    run.line(101, "queued", "submodel-0", own=True, kind="train", steps=10)
    run.line(102, "started", "submodel-0", own=True, host="a", pid=1, gpus=None, attempt=1)
    step = status_of(run.path)["steps"][0]
    assert (step["step"], step["loss"]) == (None, None)


def test_a_log_as_long_as_a_day_is_read_from_its_end(run, monkeypatch):
    run.begin()
    run.line(1, "queued", "submodel-0", own=True, kind="train", steps=86400)
    run.line(1, "started", "submodel-0", own=True, host="a", pid=1, gpus=None, attempt=1)
    with open(run.path / "logs/submodel-0.jsonl", "a") as log:
        for second in range(0, 86400, 60):
            log.write(json.dumps({"time": at(second), "event": "progress", "step": "submodel-0", "stage": "training",
                                  "at": second, "steps": 86400, "loss": 1.0}) + "\n")  # fmt: skip
    assert (run.path / "logs/submodel-0.jsonl").stat().st_size > 4 * statuses.TAIL
    assert status_of(run.path)["steps"][0]["step"] == 86340


def test_a_url_is_read_as_a_folder_is(training):
    there = fsspec.filesystem("memory")
    for path in [training.path / "log.jsonl", *(training.path / "logs").iterdir()]:
        there.pipe_file(f"/runs/{path.relative_to(training.path)}", path.read_bytes())
    now = BEGAN + timedelta(seconds=100)
    here, away = status_of(training.path, now=now), status_of("memory://runs", now=now)
    assert away["state"] == "running"
    assert away["folder"] == "memory://runs"
    assert [step["loss"] for step in away["steps"]] == [step["loss"] for step in here["steps"]]
    with pytest.raises(MissingInput, match="no run was here"):
        status_of("memory://nowhere")
    with pytest.raises(MissingInput, match="cannot be opened"):
        status_of("nosuchthing://runs")


def test_where_no_run_was(tmp_path):
    with pytest.raises(MissingInput, match="no such folder"):
        status_of(tmp_path / "nowhere")
    with pytest.raises(MissingInput, match=r"no log\.jsonl, so no run was here"):
        status_of(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"level": "info", "msg": "another program"}\n\xff\n')
    with pytest.raises(MissingInput, match="holds no run of dtm's"):
        status_of(tmp_path)
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "run.yaml").write_text("base: x")
    with pytest.raises(MissingInput, match="no run has begun here"):
        status_of(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingInput, match="no such folder"):
        status_of(tmp_path / "file")


def test_the_command_line(training, tmp_path):
    dtm = CliRunner()
    told = dtm.invoke(app, ["status", str(training.path)], env={"COLUMNS": "120"})
    assert told.exit_code == 1
    for word in ("ended without a word", "submodel-1", "50/100", "100/100", "2.000", "node-b:13 GPU 1"):
        assert word in told.stdout
    told = dtm.invoke(app, ["status", str(training.path), "--json"])
    assert told.exit_code == 1
    assert json.loads(told.stdout) == status_of(training.path)
    training.line(95, "end")
    told = dtm.invoke(app, ["status", str(training.path), "--watch", "--json"])
    assert told.exit_code == 0
    assert json.loads(told.stdout)["state"] == "finished"
    told = dtm.invoke(app, ["status", str(tmp_path)])
    assert isinstance(told.exception, MissingInput)


def test_the_schema_in_the_docs_names_every_key(training):
    text = (Path(__file__).parents[2] / "docs" / "status.md").read_text()
    told = set(re.findall(r"`(\w+)`", text))
    found = status_of(training.path)
    assert {*found, *found["steps"][0], *found["stages"][0]} <= told


@pytest.mark.parametrize("terminal", [True, False])
def test_watching_draws_until_the_run_ends(run, monkeypatch, terminal):
    looks = watching.looks
    monkeypatch.setattr(watching, "looks", lambda folder, kind: looks(folder, 0.01, kind))
    journal = Journal(run.path)
    journal.begin(command="dtm run", until="train", workers=1)
    drawn = threading.Event()
    screen = Screen(drawn)

    def work():
        journal.event("queued", "submodel-0", kind="train", steps=3)
        journal.event("started", "submodel-0", host="here", pid=1, gpus=None, attempt=1)
        assert drawn.wait(20)
        journal.event("done", "submodel-0", kind="train", seconds=1.0, steps=3)
        journal.end("end")

    worker = threading.Thread(target=work)
    worker.start()
    found = watching.watch(run.path, Console(file=screen, force_terminal=terminal, width=100))
    worker.join()
    assert found["state"] == "finished"
    text = screen.getvalue()
    assert "finished in" in text
    assert ("\x1b[" in text) is terminal


class Screen(io.StringIO):
    """Says when a running sub-model was drawn."""

    def __init__(self, drawn):
        super().__init__()
        self.drawn = drawn

    def write(self, text):
        if "running" in text:
            self.drawn.set()
        return super().write(text)


def test_a_whole_run_leaves_its_logs_and_the_bytes_are_those_without(
    undisturbed, inputs, tmp_path, warm, monkeypatch
):
    from dtm.pipeline import run

    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    without(undisturbed, tmp_path, "train", "merge", "evaluate", "heldout")
    run(write_run(inputs, tmp_path), ["train.args.report_to=[tensorboard]"], **warm)
    folder = tmp_path / "run"
    here, there = content(tmp_path), content(undisturbed)
    assert here.pop("merged/README.md") != there.pop("merged/README.md"), (
        "the card holds the run file's own words"
    )
    assert here == there
    found = status_of(folder)
    assert found["state"] == "finished"
    assert [(stage["stage"], stage["state"], stage["ended"]) for stage in found["stages"]] == [
        ("base", "reused", 1), ("data", "reused", 3), ("disperse", "reused", 2), ("train", "done", 2),
        ("merge", "done", 1), ("evaluate", "done", 8)
    ]  # fmt: skip
    for number in range(2):
        step = next(step for step in found["steps"] if step["name"] == f"submodel-{number}")
        training = json.loads((folder / f"submodels/{number}/training.json").read_text())
        assert step["step"] == step["steps"] == training["steps"]
        assert step["loss"] == pytest.approx(training["curve"][-1]["loss"])
        said = (folder / step["log"]).read_text()
        assert "attempt 1 on" in said
        # TRL's own count of the tokens that it read, in the last of the lines that it prints
        assert step["tokens"] == float(re.findall(r"'num_tokens': '([^']+)'", said)[-1])
        assert step["tokens_per_second"] > 0
        assert list((folder / f"logs/tensorboard/submodel-{number}").glob("events.out.tfevents.*"))
    told = [json.loads(line)["event"] for line in (folder / "logs/submodel-0.jsonl").read_text().splitlines()]
    assert [kind for kind in told if kind != "progress"] == ["queued", "started", "done"]


def test_every_step_of_the_source_has_a_stage():
    import dtm

    named = set()
    for path in (Path(dtm.__file__).parent / "pipeline").glob("*.py"):
        named |= set(re.findall(r"""\bStep\(\s*"(\w+)\"""", path.read_text()))
    assert {"load", "train", "merge", "evaluate"} <= named
    assert named <= set(STAGE_OF)
