"""The preference job against plain torch: the loss, the reference, what is measured, resuming, and the control."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.numpy import load_file

from dtm.foundations.errors import ConfigError, TrainingError
from dtm.train import check_preference
from dtm.train.dpo import check, measured, prefer

IDS = pa.list_(pa.int32())
PAIRS = [([5, 6, 7 + n], [20 + n, 21, 2], [40 + n, 2] if n % 2 else [50, 51 + n, 52, 2]) for n in range(10)]


def silent(message):
    pass


@pytest.fixture
def pairs(tmp_path):
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    columns = zip(*PAIRS, strict=True)
    table = pa.table({name: pa.array(one, IDS) for name, one in zip(names, columns, strict=True)})
    path = tmp_path / "pairs.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.fixture(params=["lora", "full"])
def wanted(request, job, pairs):
    """A job of ten pairs, five a step, two passes."""
    settings, errors = check_preference(
        {"learning_rate": 1e-3, "num_train_epochs": 2, "per_device_train_batch_size": 5, "beta": 0.3}, job["lora"], 256,
        str,
    )  # fmt: skip
    assert not errors
    return {**job, "pairs": str(pairs), "args": dict(settings.args), "total_steps": 4, "yield": {"questions": 4},
            "lora": job["lora"] if request.param == "lora" else None}  # fmt: skip


def sums(folder, adapter=None):
    """Log probabilities of all answers in fp64, a sequence at a time: [N, 2]."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter).double()
    found = []
    for prompt, *answers in PAIRS:
        for said in answers:
            with torch.no_grad():
                logs = model(torch.tensor([[*prompt, *said]])).logits[0].log_softmax(-1)
            found.append(sum(float(logs[len(prompt) - 1 + place, token]) for place, token in enumerate(said)))
    return torch.tensor(found, dtype=torch.float64).reshape(-1, 2)


def weights(job):
    return load_file(
        Path(job["output"]) / ("adapter_model.safetensors" if job["lora"] else "model.safetensors")
    )


def test_the_loss_the_reference_and_what_became_of_the_pairs(wanted, base):
    facts = prefer(wanted, silent)
    output = Path(wanted["output"])
    before = sums(base)
    after = sums(base, output) if wanted["lora"] else sums(output)
    found = facts["preference"]
    assert found == json.loads((output / "preference.json").read_text())
    for column, side in enumerate(("chosen", "rejected")):
        assert found[f"{side}_before"] == pytest.approx(float(before[:, column].mean()), rel=1e-5)
        assert found[f"{side}_after"] == pytest.approx(float(after[:, column].mean()), rel=1e-5)
    gains = after - before
    assert found["accuracy"] == float((gains[:, 0] > gains[:, 1]).double().mean()) > 0.5
    assert found["fell"] == (found["chosen_after"] < found["chosen_before"])
    curve = json.loads((output / "training.json").read_text())["curve"]
    assert curve[0]["loss"] == pytest.approx(
        math.log(2), rel=1e-5
    )  # the reference is where the training starts
    assert curve[0]["margin"] == 0
    assert curve[-1]["loss"] < curve[0]["loss"]
    margin = float((gains[:, 0] - gains[:, 1]).mean()) * 0.3
    assert margin > 0.5 * np.mean([point["margin"] for point in curve[-2:]]) > 0
    said = sum(len(one) + len(other) for _, one, other in PAIRS)
    assert (facts["steps"], facts["tokens"]) == (4, 2 * said)
    assert facts["input_tokens"] == 2 * (said + 2 * sum(len(prompt) for prompt, *_ in PAIRS))


def test_only_the_model_is_written_and_a_card(wanted):
    prefer(wanted, silent)
    output = Path(wanted["output"])
    assert not [path for path in output.iterdir() if path.is_dir()]
    text = (output / "README.md").read_text()
    assert "10 preference pairs for 4 steps" in text
    assert "| questions | 4 |" in text
    assert str(output) not in text


def test_resuming_gives_the_same_bytes_and_the_same_figures(wanted):
    told = prefer(wanted, silent)
    expected, scratch = weights(wanted), Path(wanted["scratch"])
    assert [path.name for path in sorted(scratch.glob("checkpoint-*"))] == ["checkpoint-3", "checkpoint-4"]
    shutil.rmtree(scratch / "checkpoint-4")
    messages = []
    assert prefer(wanted, messages.append) == told
    assert {"stage": "resuming", "step": 3} in messages
    assert all(np.array_equal(expected[name], value) for name, value in weights(wanted).items())


def test_exchanged_labels_teach_the_contrary(wanted, tmp_path):
    wanted |= {"swapped": list(range(10))}
    found = prefer(wanted, silent)["preference"]
    assert found["chosen_before"] == pytest.approx(float(sums(wanted["base"])[:, 1].mean()), rel=1e-5)
    assert found["accuracy"] > 0.5
    assert "labels of 10 pairs" in (Path(wanted["output"]) / "README.md").read_text()


def test_measured_raises_the_alarm_where_chosen_answers_fall():
    before = torch.tensor([[-3.0, -4.0], [-2.0, -2.0]], dtype=torch.float64)
    found = measured(before, before + torch.tensor([[-1.0, -5.0], [0.5, 0.5]]), "m")
    assert found["fell"]
    assert found["accuracy"] == 0.5
    assert not measured(before, before, "m")["fell"]
    assert measured(before, before, "m")["accuracy"] == 0
    with pytest.raises(TrainingError, match="m gives pairs no finite"):
        measured(before, before * math.nan, "m")


def test_settings_are_dpo_st_s_and_ours_cannot_be_set():
    settings, errors = check_preference({}, None, 99, str)
    assert not errors
    args = settings.args
    assert (args["beta"], args["learning_rate"], args["max_steps"], args["warmup_steps"]) == (
        0.1,
        3e-7,
        100,
        0.1,
    )
    assert args["max_length"] == 99
    assert check_preference({"num_train_epochs": 3}, None, 99, str)[0].args["max_steps"] == -1
    wrong = {"betta": 0.1, "beta": 0, "sync_ref_model": True, "learning_rate": "fast", "seed": 1}
    messages = [error.message for error in check_preference(wrong, None, 99, str)[1]]
    assert len(messages) == 5
    assert any("prefer.args.betta" in one and "'beta'" in one for one in messages)
    assert any("beta must be above 0" in one for one in messages)
    assert any("the reference is the model that the step starts from" in one for one in messages)


def test_what_dpo_config_refuses_is_told_before_training(job):
    with pytest.raises(ConfigError, match="DPOConfig refused"):
        check({**job, "args": {**job["args"], "lr_scheduler_type": "cosin"}}, silent)
