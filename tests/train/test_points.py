"""Models kept along the way: the very weights of that step, whatever is killed, and the end is the same without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from dtm.foundations.files import sha256, walk
from dtm.train.checkpoints import STAMP, discard_broken, keep_point, plan_points, points_of, stamp
from dtm.train.sft import train

SHARES = ["1/3", "1/2", "2/3"]


def silent(message):
    pass


def digests(folder):
    return {name: sha256(path) for name, path in walk(Path(folder)) if name != "training_args.bin"}


@pytest.mark.parametrize("lora", [True, False])
def test_points_are_the_trainers_weights_at_those_steps_and_change_nothing(job, tmp_path, lora):
    job["args"] |= {"per_device_train_batch_size": 2, "save_steps": 1, "save_total_limit": 10}
    job["lora"] = {**job["lora"], "lora_dropout": 0.2} if lora else None
    facts = train(job | {"checkpoints": SHARES}, silent)
    assert facts["steps"] == 6
    assert facts["checkpoints"] == {
        share: {"step": step, "steps": step, "share": step / 6, "tokens": round(facts["tokens"] * step / 6)}
        for share, step in zip(SHARES, (2, 3, 4), strict=True)
    }
    output, name = Path(job["output"]), "adapter_model.safetensors" if lora else "model.safetensors"
    for step in (2, 3, 4):
        kept = load_file(output / "checkpoints" / str(step) / name)
        theirs = load_file(Path(job["scratch"]) / f"checkpoint-{step}" / name)
        assert kept.keys() == theirs.keys()
        assert all(np.array_equal(kept[one], theirs[one]) for one in kept)
        assert not (output / "checkpoints" / str(step) / STAMP).exists()
    plain = {"output": str(tmp_path / "plain"), "scratch": str(tmp_path / "plain-scratch")}
    (tmp_path / "plain-scratch").mkdir()
    assert "checkpoints" not in train(job | plain, silent)
    kept_too = {name: digest for name, digest in digests(output).items() if "checkpoints/" not in name}
    assert digests(tmp_path / "plain") == kept_too


def test_a_point_that_is_lost_is_made_again_with_the_same_bytes(job):
    """Its weights are cut short after training: training goes back to a checkpoint before it."""
    job["args"] |= {"per_device_train_batch_size": 2, "save_steps": 1, "save_total_limit": 10}
    job["lora"]["lora_dropout"] = 0.2
    train(job | {"checkpoints": SHARES}, silent)
    whole = digests(job["output"])
    damaged = Path(job["scratch"]) / "points" / "3" / "adapter_model.safetensors"
    content = damaged.read_bytes()
    damaged.unlink()  # a link of the output's: not to be written through
    damaged.write_bytes(content[:-1])
    messages = []
    for path in Path(job["output"]).rglob("*.safetensors"):
        path.unlink()
    train(job | {"checkpoints": SHARES}, messages.append)
    assert {"stage": "resuming", "step": 2} in messages
    assert digests(job["output"]) == whole


def test_trainer_checkpoints_behind_a_lost_point_are_discarded(tmp_path):
    for step in (2, 4, 6):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "weights").write_bytes(b"w")
        stamp(tmp_path / f"checkpoint-{step}")
    plan_points(tmp_path, [2, 4, 8])
    for step in (2, 4):
        keep_point(tmp_path, step, lambda folder: (folder / "weights").write_bytes(b"p"))
    assert discard_broken(tmp_path) == []
    (tmp_path / "points" / "4" / "weights").write_bytes(b"q")
    assert [path.name for path in discard_broken(tmp_path)] == ["checkpoint-4", "checkpoint-6"]


@given(count=st.integers(1, 40), steps=st.integers(1, 1000))
def test_points_are_evenly_spaced(count, steps):
    kept = points_of([f"{number}/{count}" for number in range(1, count)], steps)
    for share, step in kept.items():
        number = int(share.split("/")[0])
        assert 1 <= step <= steps
        assert (step - 1) * count < number * steps <= step * count or step == 1
