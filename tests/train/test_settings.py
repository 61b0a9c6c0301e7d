"""What `train:` may say, and how many steps it means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.train import check_settings, steps_of


def told(args, lora=None):
    _, errors = check_settings(args, lora, True, lambda key: key)
    return [error.message for error in errors]


@pytest.mark.parametrize(
    ("args", "lora", "message"),
    [
        ({"learning_rat": 1e-3}, None, "train.args.learning_rat: there is no setting of SFTConfig 'learning_rat'."
                                       " Did you mean 'learning_rate'?"),
        ({"learning_rate": "fast"}, None, "train.args.learning_rate: 'fast' is not float."),
        ({"num_train_epochs": True}, None, "train.args.num_train_epochs: True is not float."),
        ({"packing": 1}, None, "train.args.packing: 1 is not bool."),
        ({"max_steps": 1.5}, None, "train.args.max_steps: 1.5 is not int."),
        ({"learning_rate": 0}, None, "train.args.learning_rate: learning_rate must be above 0, not 0."),
        ({"save_only_model": True}, None, "train.args.save_only_model: `save_only_model` cannot be set here: a killed"
                                          " run would go on with other numbers than an undisturbed one."),
        ({"seed": 3}, None, "train.args.seed: `seed` cannot be set here: the top-level seed governs all."),
        ({}, {"lora_alfa": 8}, "train.lora.lora_alfa: there is no setting of LoraConfig 'lora_alfa'."
                               " Did you mean 'lora_alpha'?"),
        ({}, {"r": 0}, "train.lora.r: the rank must be 1 or more, not 0."),
        ({}, {"init_lora_weights": "pissa"}, "train.lora.init_lora_weights: init_lora_weights: pissa changes the base,"
                                             " and sub-models are merged as updates of it. Leave it out, or use"
                                             " gaussian or orthogonal."),
        ({}, {"r": 8.5}, "train.lora.r: 8.5 is not int."),
    ],
)  # fmt: skip
def test_mistakes(args, lora, message):
    assert told(args, lora) == [message]


def test_all_mistakes_at_once():
    assert len(told({"learning_rat": 1, "packing": 1}, {"rank": 8})) == 3


def test_neftune_and_other_settings_of_trl_pass_through():
    args = {
        "neftune_noise_alpha": 5.0,
        "weight_decay": 0.1,
        "packing": True,
        "packing_strategy": "bfd",
        "max_steps": 3,
    }
    settings, errors = check_settings(args, {"use_rslora": True, "lora_dropout": 0.05}, True, str)
    assert not errors
    assert settings.args["neftune_noise_alpha"] == 5.0
    assert settings.lora["use_rslora"]


def test_where_and_how_often_is_saved_does_not_enter_the_key():
    plain, _ = check_settings({}, None, True, str)
    saving, _ = check_settings(
        {"save_steps": 7, "logging_steps": 3, "report_to": "tensorboard"}, None, True, str
    )
    other, _ = check_settings({"weight_decay": 0.1}, None, True, str)
    assert plain.keyed == saving.keyed != other.keyed


@given(
    rows=st.integers(1, 500), batch=st.integers(1, 32), accumulate=st.integers(1, 5), epochs=st.integers(1, 4)
)
def test_steps_against_counting_batches(rows, batch, accumulate, epochs):
    args = {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulate,
        "num_train_epochs": epochs,
    }
    settings, _ = check_settings(args, None, True, str)
    steps = 0
    for _ in range(epochs):
        batches = len(range(0, rows, batch))
        steps += len(range(0, batches, accumulate))
    assert steps_of(settings, rows) == steps
