"""The training job against plain torch: the loss, the adapter, resuming, and a loss that blows up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from dtm.foundations.errors import ConfigError, TrainingError
from dtm.foundations.types import Examples
from dtm.train.checkpoints import STAMP
from dtm.train.sft import check, train


def silent(message):
    pass


def weights(job, name="adapter_model.safetensors"):
    return load_file(Path(job["output"]) / name)


def test_first_loss_is_the_mean_over_the_assistants_tokens(job):
    """All rows in one batch: the loss of step 1 is that of the base, computed here a row at a time in fp64."""
    from transformers import AutoModelForCausalLM

    job["args"] |= {"per_device_train_batch_size": 12, "max_steps": 1}
    train(job, silent)
    told = json.loads((Path(job["output"]) / "training.json").read_text())["curve"][0]["loss"]
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float64)
    total, count = 0.0, 0
    for row in Examples.open(Path(job["examples"])).rows():
        with torch.no_grad():
            logits = model(torch.tensor([row["input_ids"]])).logits[0]
        logprobs = torch.log_softmax(logits, -1)
        for place, said in enumerate(row["assistant_mask"]):
            if said:
                total -= float(logprobs[place - 1, row["input_ids"][place]])
                count += 1
    assert told == pytest.approx(total / count, rel=1e-4)


def test_counts_and_the_adapters_config(job):
    messages = []
    facts = train(job, messages.append)
    lengths, trained = Examples.open(Path(job["examples"])).token_counts()
    assert facts == {"steps": 3, "tokens": int(trained.sum()), "input_tokens": int(lengths.sum())}
    assert [m["step"] for m in messages if m["stage"] == "training"] == [1, 2, 3]
    text = (Path(job["output"]) / "adapter_config.json").read_text()
    config = json.loads(text)
    assert config["base_model_name_or_path"] == "owner/base"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert list(config) == sorted(config)
    assert not (Path(job["output"]) / "README.md").exists()


def test_full_fine_tuning_writes_a_model_that_changed(job, base):
    job["lora"] = None
    train(job, silent)
    before, after = load_file(base / "model.safetensors"), weights(job, "model.safetensors")
    assert before.keys() == after.keys()
    assert all(not np.array_equal(before[name], after[name]) for name in before if "proj" in name)
    assert (Path(job["output"]) / "tokenizer.json").exists()


def test_the_adapters_start_depends_on_its_own_seed_alone(job, tmp_path):
    job["args"]["learning_rate"] = 1e-30
    starts = {}
    for seed, adapter_seed in [(1, 2), (5, 2), (1, 3)]:
        job |= {
            "seed": seed,
            "adapter_seed": adapter_seed,
            "scratch": str(tmp_path / f"{seed}-{adapter_seed}"),
        }
        train(job, silent)
        starts[seed, adapter_seed] = weights(job)
    first, other, another = starts.values()
    name = next(name for name in first if "lora_A" in name)
    assert np.array_equal(first[name], other[name])
    assert not np.array_equal(first[name], another[name])


def test_a_loss_that_is_not_finite_stops_with_a_message(job):
    job["lora"] = None
    job["args"] |= {"learning_rate": 1e30, "max_grad_norm": 0.0, "warmup_steps": 0}
    with pytest.raises(TrainingError, match=r"submodel-0 is (nan|inf) at step \d.*learning_rate"):
        train(job, silent)
    assert not (Path(job["output"]) / "model.safetensors").exists()


def test_a_loss_that_is_not_finite_is_told_even_where_nothing_is_logged(job):
    job["lora"] = None
    job["args"] |= {"learning_rate": 1e30, "max_grad_norm": 0.0, "warmup_steps": 0, "logging_strategy": "no"}
    with pytest.raises(TrainingError, match=r"submodel-0 is (nan|inf)"):
        train(job, silent)


def test_resuming_past_a_corrupt_checkpoint_gives_the_same_bytes(job, tmp_path):
    job["lora"]["lora_dropout"] = 0.2
    train(job, silent)
    expected = weights(job)
    checkpoints = sorted(Path(job["scratch"]).glob("checkpoint-*"))
    assert [path.name for path in checkpoints] == ["checkpoint-2", "checkpoint-3"]
    damaged = next(checkpoints[-1].glob("*.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (Path(job["output"]) / "adapter_model.safetensors").unlink()
    messages = []
    train(job, messages.append)
    assert {"stage": "resuming", "step": 2} in messages
    assert all(np.array_equal(expected[name], value) for name, value in weights(job).items())
    assert (checkpoints[0] / STAMP).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"args": {"lr_scheduler_type": "cosin"}}, "SFTConfig refused"),
        ({"lora": {"layers_pattern": "layers"}}, "LoraConfig refused"),
    ],
)
def test_bad_values_are_told_before_training(job, change, message):
    with pytest.raises(ConfigError, match=message):
        check(job | change, silent)
