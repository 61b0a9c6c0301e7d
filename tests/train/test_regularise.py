"""Regularised trainings against plain torch in fp64: three steps over all rows, each penalty by its formula."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from dtm.foundations.errors import ConfigError, DtmError, MethodError
from dtm.foundations.models import load_model
from dtm.foundations.types import Examples
from dtm.sections import Regularise
from dtm.train import check_settings
from dtm.train.dropout import check_effect
from dtm.train.sft import check, train

LORA = {"r": 3, "lora_alpha": 12, "target_modules": ["q_proj", "down_proj"]}
SGD = {"learning_rate": 0.05, "max_steps": 3, "per_device_train_batch_size": 6, "gradient_accumulation_steps": 2,
       "optim": "sgd", "lr_scheduler_type": "constant", "warmup_steps": 0, "max_grad_norm": 0.0}  # fmt: skip


def silent(message):
    pass


@pytest.fixture
def exact(job, request):
    """The job in fp64: each step is one of SGD over all twelve rows, in two accumulated halves."""
    job["args"] |= SGD
    job["model"] = {"dtype": "float64"}
    return job


def fisher_file(base, folder):
    """Any importance will do: the penalty is told from it."""
    generator = np.random.default_rng(5)
    weights = load_file(base / "model.safetensors")
    folder.mkdir()
    fisher = {name: generator.random(one.shape, np.float32) for name, one in weights.items()}
    save_file(fisher, folder / "statistics.safetensors")
    return fisher


def reference(job, penalty):
    """The model after the steps, and the mean of the penalties, in plain torch; `penalty(model, base, logits)`."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, set_seed

    base, model = (AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float64) for _ in range(2))
    if job["lora"]:
        set_seed(job["adapter_seed"])
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **job["lora"]))
    rows = list(Examples.open(Path(job["examples"])).rows())
    tokens = sum(sum(row["assistant_mask"][1:]) for row in rows)
    told = []
    for _ in range(job["args"]["max_steps"]):
        loss, pairs = 0.0, []
        for row in rows:
            ids, said = torch.tensor([row["input_ids"]]), torch.tensor(row["assistant_mask"][1:])
            logits = model(ids).logits[0, :-1][said]
            with torch.no_grad():
                pairs.append((logits, base(ids).logits[0, :-1][said]))
            loss = loss - logits.log_softmax(-1).gather(1, ids[0, 1:][said][:, None]).sum()
        term = penalty(model, base, pairs, tokens)
        told.append(term.item())
        model.zero_grad()
        (loss / tokens + term).backward()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.grad is not None:
                    weight -= job["args"]["learning_rate"] * weight.grad
    return model, np.mean(told)


def squares(model, base, importance, lora):
    """Half the sum of importance times squared updates; an adapter's written out as (alpha / r) B A."""
    before, total = dict(base.named_parameters()), 0.0
    if not lora:
        for name, weight in model.named_parameters():
            total = total + (importance(name) * (weight - before[name]) ** 2).sum()
        return total / 2
    factors = dict(model.named_parameters())
    for key in [key for key in factors if ".lora_A." in key]:
        update = lora["lora_alpha"] / lora["r"] * factors[key.replace("lora_A", "lora_B")] @ factors[key]
        name = key.removeprefix("base_model.model.").replace(".lora_A.default", "")
        total = total + (importance(name) * update**2).sum()
    return total / 2


def divergence(model, base, pairs, tokens):
    """The mean over tokens of sum_v p_base log(p_base / p), by its definition."""
    total = 0.0
    for logits, base_logits in pairs:
        p, q = base_logits.softmax(-1), logits.softmax(-1)
        total = total + (p * (p / q).log()).sum()
    return total / tokens


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("method", ["l2_to_base", "ewc", "kl_to_base"])
def test_three_steps_are_those_of_the_formula(exact, base, method, lora, tmp_path):
    weight = {"l2_to_base": 3.0, "ewc": 5.0, "kl_to_base": 2.0}[method]
    exact["lora"] = lora
    fisher = fisher_file(base, tmp_path / "fisher")
    exact["regularise"] = {
        "method": method,
        "settings": {"weight": weight},
        "statistic": str(tmp_path / "fisher"),
    }

    def penalty(model, base_model, pairs, tokens):
        if method == "kl_to_base":
            return weight * divergence(model, base_model, pairs, tokens)
        importance = (
            (lambda name: torch.from_numpy(fisher[name]).double()) if method == "ewc" else lambda name: 1.0
        )
        return weight * squares(model, base_model, importance, lora)

    train(exact, silent)
    expected, mean = reference(exact, penalty)
    name = "adapter_model.safetensors" if lora else "model.safetensors"
    found = load_file(Path(exact["output"]) / name)
    weights = {key.replace(".default", ""): one.detach().numpy() for key, one in expected.named_parameters()}
    for key, values in found.items():
        np.testing.assert_allclose(values, weights[key], rtol=1e-5, atol=1e-7, err_msg=key)
    curve = json.loads((Path(exact["output"]) / "training.json").read_text())["curve"]
    assert np.mean([point["penalty"] for point in curve]) == pytest.approx(mean, rel=1e-5)
    assert mean > 1e-4  # else the test would prove nothing


def model_after(job):
    train(job, silent)
    return load_file(
        Path(job["output"]) / ("adapter_model.safetensors" if job["lora"] else "model.safetensors")
    )


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_settings_of_trl_peft_and_the_model_reach_training(job, lora, tmp_path):
    changes = {
        "plain": {}, "neftune": {"args": {"neftune_noise_alpha": 5.0}}, "decay": {"args": {"weight_decay": 0.5}},
        "attention": {"dropout": {"attention_dropout": 0.3}},
    }  # fmt: skip
    if lora:
        changes["adapter"] = {"lora": {"lora_dropout": 0.3}}
    found = {}
    for name, own in changes.items():
        places = {place: str(tmp_path / name / place) for place in ("output", "scratch")}
        for place in places.values():
            Path(place).mkdir(parents=True)
        one = {
            **job,
            **places,
            "lora": lora and {**lora, **own.get("lora", {})},
            "dropout": own.get("dropout"),
        }
        found[name] = model_after({**one, "args": {**job["args"], "max_steps": 2, **own.get("args", {})}})
    for name in changes.keys() - {"plain"}:
        assert any(not np.array_equal(one, found["plain"][key]) for key, one in found[name].items()), name
    if lora is None:
        config = json.loads((tmp_path / "attention" / "output" / "config.json").read_text())
        assert config["attention_dropout"] == 0.0  # the setting was the training's, not the model's


def test_dropout_that_a_model_lacks_or_ignores_is_an_error(job):
    with pytest.raises(MethodError, match=r"resid_pdrop.*\n.*attention_dropout|attention_dropout"):
        check({**job, "dropout": {"resid_pdrop": 0.1}}, silent)
    model = load_model(Path(job["base"]), {"attention_dropout": 0.3}, device="cpu")
    check_effect(model, {"attention_dropout": 0.3})
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.0
    with pytest.raises(ConfigError, match="trains the same"):
        check_effect(model, {"attention_dropout": 0.3})


@pytest.mark.parametrize("method", ["l2_to_base", "ewc", "kl_to_base"])
def test_a_training_that_goes_on_ends_in_the_same_bytes(job, base, method, tmp_path):
    """With noise of every kind, from the checkpoint before the last."""
    lora = None if method == "l2_to_base" else {**LORA, "lora_dropout": 0.2}
    fisher_file(base, tmp_path / "fisher")
    job |= {"lora": lora, "dropout": {"attention_dropout": 0.2}}
    job["regularise"] = {"method": method, "settings": {"weight": 0.5}, "statistic": str(tmp_path / "fisher")}
    job["args"] |= {"neftune_noise_alpha": 5.0}
    expected = model_after(job)
    last = max(Path(job["scratch"]).glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    shutil.rmtree(last)
    messages = []
    train(job, messages.append)
    assert {"stage": "resuming", "step": 2} in messages
    name = "adapter_model.safetensors" if lora else "model.safetensors"
    found = load_file(Path(job["output"]) / name)
    assert all(np.array_equal(expected[name], value) for name, value in found.items())


def section(**values):
    return Regularise(**values)


@pytest.mark.parametrize(
    ("values", "args", "lora", "said"),
    [
        ({"method": "ewk", "weight": 1.0}, {}, None, "Did you mean 'ewc'"),
        ({"method": "ewc"}, {}, None, "needs `weight`"),
        ({"method": "ewc", "weight": 0.0}, {}, None, "above 0"),
        ({"method": "l2_to_base", "weight": 1.0, "strength": 2}, {}, None, "no setting of .* 'strength'"),
        ({"method": "l2_to_base", "weight": 1.0, "fisher": {"rows": 4}}, {}, None, "reads no Fisher"),
        ({"method": "ewc", "weight": 1.0}, {}, {"use_dora": True}, "s B A"),
        ({"method": "l2_to_base", "weight": 1.0}, {}, {"bias": "all"}, "biases"),
        ({"method": "kl_to_base", "weight": 1.0}, {"use_liger_kernel": True}, None, "from the logits"),
    ],
)
def test_what_cannot_work_is_told_before_any_work(values, args, lora, said):
    _, errors = check_settings(args, lora, True, lambda key: key, section(**values))
    assert len(errors) == 1
    with pytest.raises(DtmError, match=said):
        raise errors[0]


def test_only_a_regularised_training_has_it_in_its_key():
    plain, _ = check_settings({}, None, True, str)
    held, errors = check_settings({}, None, True, str, section(method="l2_to_base", weight=1))
    assert not errors
    assert "regularise" not in plain.keyed
    assert held.keyed["regularise"] == {"method": "l2_to_base", "version": 1, "settings": {"weight": 1.0}}
