"""`report_to`: checked before work, grouped and named, closed with each training, and without effect on a weight."""

import json
import os
import struct
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from dtm.foundations.errors import MissingInput, TrainingError
from dtm.train import check_settings, reporting
from dtm.train.dpo import prefer
from dtm.train.sft import train
from tests.train.test_sft import silent, weights

STUBS = Path(__file__).parent / "trackers"


@pytest.fixture
def trackers(monkeypatch):
    """W&B and trackio stood in for, and the environment as a user without accounts has it."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(STUBS)
    for name in [name for name in os.environ if name.startswith(("WANDB_", "TRACKIO_", "TENSORBOARD_"))]:
        monkeypatch.delenv(name)
    for name in ("wandb", "trackio"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import trackio
    import wandb
    from trl.trainer import base_trainer

    monkeypatch.setattr(
        base_trainer, "wandb", wandb, raising=False
    )  # it looks for it once, as it is imported
    assert Path(wandb.__file__).is_relative_to(STUBS)
    yield {"wandb": wandb, "trackio": trackio}
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("wandb", "trackio"):
            del sys.modules[name]


def reported(job, tmp_path, name="submodel-0", **args):
    said = {"name": name, "group": "first", "folder": str(tmp_path / "logs"), "id": f"id-of-{name}"}
    return {**job, "name": name, "args": {**job["args"], "logging_steps": 1, **args}, "reporting": said}


def scalars(folder):
    """{tag: {step: value}} of TensorBoard's event files, by their definition: a record is length, crc, event, crc."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in Path(folder).glob("events.out.tfevents.*"):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
            place += 16 + length
    return found


def test_tensorboard_gets_the_loss_of_each_step_and_no_weight_changes(job, tmp_path, monkeypatch):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    before = dict(os.environ)
    train(reported(job, tmp_path, report_to=["tensorboard"]), silent)
    assert dict(os.environ) == before
    told = scalars(tmp_path / "logs" / "tensorboard" / "submodel-0")["train/loss"]
    curve = json.loads((Path(job["output"]) / "training.json").read_text())["curve"]
    assert told == {point["step"]: pytest.approx(point["loss"], rel=1e-6) for point in curve}
    assert len(told) == 3
    with_it = weights(job)
    again = {**job, "output": str(tmp_path / "again"), "scratch": str(tmp_path / "scratch-2")}
    for name in ("output", "scratch"):
        Path(again[name]).mkdir()
    train({**again, "args": {**job["args"], "logging_steps": 1}}, silent)
    without = weights(again)
    assert all((with_it[name] == without[name]).all() for name in with_it)


def test_a_kept_worker_makes_a_run_of_each_sub_model_in_one_group(job, tmp_path, trackers):
    for name in ("submodel-0", "submodel-1"):
        for folder in ("output", "scratch"):
            job[folder] = str(tmp_path / name / folder)
            Path(job[folder]).mkdir(parents=True)
        train(reported(job, tmp_path, name, report_to=["wandb", "trackio"]), silent)
    calls = trackers["wandb"].CALLS
    assert [told for kind, told in calls if kind == "init"] == [
        {"project": "dtm", "name": f"first-{name}", "WANDB_PROJECT": "dtm", "WANDB_RUN_GROUP": "first",
         "WANDB_RUN_ID": f"id-of-{name}", "WANDB_RESUME": "allow", "WANDB_DIR": str(tmp_path / "logs")}
        for name in ("submodel-0", "submodel-1")
    ]  # fmt: skip
    assert [kind for kind, _ in calls if kind != "log"] == ["init", "finish"] * 2
    losses = [told["train/loss"] for kind, told in calls if kind == "log" and "train/loss" in told]
    assert losses[:3] == losses[3:], "two trainings of equal seeds"
    assert len(losses) == 6
    calls = trackers["trackio"].CALLS
    assert [(told["project"], told["name"]) for kind, told in calls if kind == "init"] == [
        ("first", "first-submodel-0"), ("first", "first-submodel-1")
    ]  # fmt: skip
    assert [kind for kind, _ in calls if kind != "log"] == ["init", "finish"] * 2


def test_what_fails_is_closed_too_and_the_users_environment_counts(job, tmp_path, trackers, monkeypatch):
    for name, value in {"WANDB_PROJECT": "mine", "WANDB_RUN_GROUP": "ours", "WANDB_RUN_ID": "of all"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError):
        train(
            reported(job, tmp_path, report_to=["wandb", "trackio"], learning_rate=1e30, max_grad_norm=0.0),
            silent,
        )
    (_, told), *_ = trackers["wandb"].CALLS
    assert (told["project"], told["WANDB_RUN_GROUP"]) == ("mine", "ours")
    assert told["WANDB_RUN_ID"] == "id-of-submodel-0", "one for all would mix the sub-models up"
    for tracker in trackers.values():
        assert tracker.CALLS[-1] == ("finish", {})
    assert os.environ["WANDB_RUN_ID"] == "of all"


def test_the_preference_step_reports_too(job, tmp_path, trackers):
    pairs = tmp_path / "pairs.arrow"
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    table = pa.table(
        {name: pa.array([[5, 6 + n, 2] for n in range(4)], pa.list_(pa.int32())) for name in names}
    )
    with pa.OSFile(str(pairs), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    prefer({**reported(job, tmp_path, "dpo", report_to=["wandb"]), "pairs": str(pairs), "yield": {}}, silent)
    (_, told), *rest = trackers["wandb"].CALLS
    assert (told["name"], told["WANDB_RUN_GROUP"]) == ("first-dpo", "first")
    assert any("train/rewards/margins" in told for kind, told in rest if kind == "log")
    assert rest[-1] == ("finish", {})


def test_a_probe_reports_nothing(job, tmp_path, trackers):
    train({**reported(job, tmp_path, report_to=["wandb"]), "probe": 1}, silent)
    assert trackers["wandb"].CALLS == []


@pytest.mark.parametrize("value", ["none", "all", None, ["none"], [], "tensorboard", ["tensorboard"]])
def test_what_is_there_may_be_named(value):
    assert check_settings({"report_to": value}, None, True, str)[1] == []


def test_what_is_not_there_is_told_before_work(monkeypatch):
    monkeypatch.setattr(reporting, "find_spec", lambda name: None)
    _, errors = check_settings({"report_to": ["tensorbord", "wandb", "mlflow", "kubeflow"]}, None, True, str)
    near, wandb, mlflow = errors
    assert "Did you mean 'tensorboard'?" in near.message
    assert isinstance(wandb, MissingInput)
    assert "pip install 'disperse-then-merge[wandb]'" in wandb.message
    assert "pip install mlflow" in mlflow.message
    assert all(error.where == "train.args.report_to" for error in errors)
    _, errors = check_settings({"report_to": {"wandb": True}}, None, True, str)
    assert "neither a name nor a list" in errors[0].message


def test_reporting_is_in_no_key():
    args = {"report_to": ["tensorboard"], "run_name": "x", "project": "y", "trackio_space_id": "z"}
    assert check_settings(args, None, True, str)[0].keyed == check_settings({}, None, True, str)[0].keyed
