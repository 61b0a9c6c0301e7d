"""Ctrl-C and SIGTERM to a run: trainings write a checkpoint behind the step in hand, and the next run goes on there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dtm.foundations.launch import LocalLauncher, signals
from dtm.pipeline import run
from dtm.pipeline.display import Display
from tests.pipeline.conftest import content, without, without_places, write_run

AT = 5


def test_a_training_that_was_stopped_goes_on_from_the_step_in_hand(
    undisturbed, inputs, tmp_path, monkeypatch
):
    """Checkpoints are rare here, and logs too: the one that is written stands between two of both."""
    told, real, armed = [], Display.event, []

    def listening(display, event):
        if event.kind == "progress" and event.data.get("stage") in ("training", "resuming"):
            told.append((event.job.name, event.data["stage"], event.data["step"]))
            if armed and len(told) == AT:
                os.kill(os.getpid(), signal.SIGINT)
        return real(display, event)

    monkeypatch.setattr(Display, "event", listening)
    path = write_run(inputs, without(undisturbed, tmp_path, "train"))
    rare = [
        "train.args.save_steps=1000",
        "train.args.logging_steps=3",
        "evaluate.tasks=[]",
        "evaluate.heldout=false",
    ]
    with LocalLauncher() as launcher:
        whole = run(path, [*rare, f"output_dir={tmp_path}/whole", f"store={tmp_path}/other"], quiet=True,
                    launcher=launcher)  # fmt: skip
        told.clear()
        armed.append(True)
        here = [*rare, f"output_dir={tmp_path}/run", f"store={tmp_path}/.dtm-store"]
        with pytest.raises(signals.Stopped):
            run(path, here, quiet=True, launcher=launcher)
        last = told[-1]
        assert last[:2] == ("submodel-0", "training")
        assert last[2] in (AT, AT + 1)  # the step in hand when the signal came
        (scratch,) = [
            one for one in tmp_path.glob(".dtm-store/work/*/scratch") if list(one.glob("checkpoint-*"))
        ]
        assert [one.name for one in scratch.glob("checkpoint-*")] == [f"checkpoint-{last[2]}"]
        told.clear()
        armed.clear()
        again = run(path, here, quiet=True, launcher=launcher)
    steps = [step for name, _, step in told if name == "submodel-0"]
    assert steps == list(
        range(last[2], whole["results"]["models"][1]["steps"] + 1)
    )  # resumed at it, none twice
    assert again["results"] == whole["results"]
    assert again["curves"] == whole["curves"]
    assert without_places(content(tmp_path)) == without_places(content(tmp_path, "whole"))


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_exit_codes_and_the_command_to_go_on(inputs, tmp_path, signum, code):
    path = write_run(inputs, tmp_path)
    command = [sys.executable, "-m", "dtm.cli", "run", path.name, "-s", "seed=1"]
    driver = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    end = time.monotonic() + 60
    while not _begun(tmp_path / "run" / "log.jsonl"):
        assert time.monotonic() < end
        time.sleep(0.01)
    driver.send_signal(signum)
    _, printed = driver.communicate(timeout=60)
    assert driver.returncode == code, printed
    assert printed.splitlines()[-1] == (
        "dtm: stopped; what was done is kept, and the same command goes on from here: dtm run run.yaml -s seed=1"
    )
    assert "Traceback" not in printed


def _begun(log: Path) -> bool:
    return log.exists() and any(json.loads(line)["event"] == "start" for line in log.read_text().splitlines())
