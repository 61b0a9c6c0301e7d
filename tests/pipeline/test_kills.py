"""`kill -9` in training, in merging, in evaluation, of the worker and of the driver: the same bytes in the end."""

from __future__ import annotations

import json

import pytest

from dtm.pipeline.status import status_of
from tests.pipeline.conftest import content, dtm, without, write_run

LATE = ("merge", "evaluate", "heldout")


@pytest.mark.parametrize(
    ("fault", "redone"),
    [
        ("dtm.train.callbacks:Watch.on_step_end:7", ("train", *LATE)),
        ("dtm.evaluate.harness:_scores:2", ("evaluate", "heldout")),
    ],
    ids=["training", "evaluation"],
)
def test_driver_and_worker_killed_together(undisturbed, inputs, tmp_path, fault, redone):
    without(undisturbed, tmp_path, *redone)
    run = write_run(inputs, tmp_path)
    killed = dtm("run", run, fault=fault, driver=True)
    assert killed.returncode == -9
    assert not (tmp_path / "run" / "results.json").exists()
    found = status_of(tmp_path / "run")
    assert (found["state"], found["reason"]) == ("stopped", "its process is gone")
    assert found["steps"][-1]["state"] == "stopped"
    resumed = dtm("run", run)
    assert resumed.returncode == 0, resumed.stderr
    assert status_of(tmp_path / "run")["state"] == "finished"
    assert content(tmp_path) == content(undisturbed)
    if "train" in redone:
        assert _resumed_from(tmp_path) == 6  # steps done by the seventh, of which the last is lost


@pytest.mark.parametrize(
    "fault",
    ["dtm.merge.output:write_beside:1", "dtm.foundations.store:_flush:3"],
    ids=["weights written", "publishing"],
)
def test_driver_killed_in_merging(undisturbed, inputs, tmp_path, fault):
    without(undisturbed, tmp_path, *LATE)
    run = write_run(inputs, tmp_path)
    killed = dtm("run", run, fault=fault)
    assert killed.returncode == -9, killed.stderr
    steps = [
        json.loads(m.read_text())["step"] for m in (tmp_path / ".dtm-store/objects").glob("*/manifest.json")
    ]
    assert "merge" not in steps
    resumed = dtm("run", run)
    assert resumed.returncode == 0, resumed.stderr
    assert content(tmp_path) == content(undisturbed)


def test_a_killed_worker_is_replaced_and_its_sub_model_resumed(undisturbed, inputs, tmp_path):
    without(undisturbed, tmp_path, "train", *LATE)
    # The fault is planted in each new worker: the first dies at its 9th step, its successor has fewer left.
    done = dtm("run", write_run(inputs, tmp_path), fault="dtm.train.callbacks:Watch.on_step_end:9")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [event for event in log if event["event"] == "retry"]
    resumed = done if done.returncode == 0 else dtm("run", write_run(inputs, tmp_path))
    assert resumed.returncode == 0, resumed.stderr
    assert content(tmp_path) == content(undisturbed)


def _resumed_from(out) -> int:
    lines = [json.loads(line) for line in (out / "run" / "log.jsonl").read_text().splitlines()]
    return next(line["at"] for line in lines if line["event"] == "resuming")
