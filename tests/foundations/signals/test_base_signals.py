"""Loss and hidden states of the base against transformers' own, one row at a time; and killed workers' work."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dtm.foundations.errors import DataError, MethodError, ModelError
from dtm.foundations.signals import embed
from dtm.foundations.signals.hidden import hidden
from dtm.foundations.signals.losses import BANDS, losses, profile
from tests.foundations.signals.rendered import job_of, quiet, random_rows, save_rows
from tests.tiny import tiny_model

ROWS = random_rows()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("base") / "model", hidden=16, seed=4, max_length=64)


@pytest.fixture(scope="module")
def reference(base):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64).eval()


@pytest.fixture
def job(base, tmp_path):
    return job_of(base, save_rows(tmp_path / "rows.arrow", ROWS), tmp_path)


def load(job, name):
    return np.load(f"{job['output']}/{name}.npy")


def test_loss_is_transformers_loss_of_each_row(job, reference):
    assert losses(job, quiet) == {"rows": len(ROWS)}
    found = load(job, "loss")
    assert found.dtype == np.float64
    for (ids, said), loss in zip(ROWS, found, strict=True):
        labels = torch.tensor([[token if told else -100 for token, told in zip(ids, said, strict=True)]])
        if not any(said[1:]):
            assert loss == 0
            continue
        with torch.no_grad():
            expected = reference(input_ids=torch.tensor([ids]), labels=labels).loss.item()
        assert loss == pytest.approx(expected, rel=1e-5)


def test_a_profile_has_the_mean_losses_of_the_parts_of_a_response():
    loss_T = np.arange(16.0)
    assert profile(loss_T).tolist() == [0.5 + 2 * band for band in range(BANDS)]
    assert profile(np.array([1.0, 5.0])).tolist() == [1, 1, 1, 1, 5, 5, 5, 5]
    assert profile(np.array([3.0])).tolist() == [3] * BANDS
    assert profile(np.array([])).tolist() == [0] * BANDS
    odd = np.random.default_rng(0).random(13)
    for band, value in enumerate(profile(odd)):
        assert value == pytest.approx(odd[band * 13 // 8 : -(-(band + 1) * 13 // 8)].mean())


@pytest.mark.parametrize("on", ["instruction", "response", "both"])
def test_hidden_is_the_mean_of_the_last_hidden_states_of_that_side(job, reference, on):
    hidden({**job, "on": on}, quiet)
    found = load(job, "hidden")
    for (ids, said), mean in zip(ROWS, found, strict=True):
        with torch.no_grad():
            states = reference(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
        wanted = np.array({"both": [True] * len(ids), "response": said, "instruction": np.invert(said)}[on])
        expected = states.numpy()[wanted].mean(axis=0) if wanted.any() else np.zeros(16)
        np.testing.assert_allclose(mean, expected, atol=1e-5 * np.abs(states.numpy()).max())


def test_the_embedder_takes_off_the_mean_of_rows_that_have_tokens(talk):
    states = np.array([[3.0, 1.0], [1.0, 3.0], [0.0, 0.0], [2.0, 2.0]])
    rows = talk("x", "y", "z", "w")
    found = embed(rows, embedder="base", seed=0, signals={"hidden": states})
    half = np.sqrt(0.5)
    assert found == pytest.approx(np.array([[half, -half], [-half, half], [0, 0], [0, 0]]))
    plain = embed(rows, embedder={"name": "base", "centre": False}, seed=0, signals={"hidden": states})
    assert plain[3] == pytest.approx([half, half])
    with pytest.raises(MethodError, match="needs the signal 'hidden'"):
        embed(rows, embedder="base", seed=0)


class Killed(Exception):
    """Stands for a worker's death."""


@pytest.mark.parametrize("marked", [True, False])
def test_a_killed_job_goes_on_from_its_mark_to_the_same_bytes(job, base, tmp_path, monkeypatch, marked):
    from dtm.foundations.signals import base as shared

    small = {"batch_tokens": 40}
    losses({**job, **small}, quiet)
    expected = [load(job, name).tobytes() for name in ("loss", "loss_profile")]
    monkeypatch.setattr(shared, "FLUSH", -1.0 if marked else 1e9)
    again = {**job_of(base, job["examples"], tmp_path / "again"), **small}
    told = []

    def die(data):
        told.append(data["done"])
        if len(told) == 4:
            raise Killed

    with pytest.raises(Killed):
        losses(again, die)
    killed_at = told[2]  # the last that was marked
    told.clear()
    losses(again, lambda data: told.append(data["done"]))
    assert (told[0] > killed_at) == marked
    assert told[-1] == len(ROWS)
    assert [load(again, name).tobytes() for name in ("loss", "loss_profile")] == expected


def test_threads_change_rounding_at_most(job, base, tmp_path):
    losses(job, quiet)
    other = job_of(base, job["examples"], tmp_path / "two", threads=2)
    try:
        losses(other, quiet)
    finally:
        torch.set_num_threads(1)
    np.testing.assert_allclose(load(other, "loss"), load(job, "loss"), rtol=1e-5)


def test_what_the_base_cannot_read_or_answer_is_told(job, base, tmp_path):
    import shutil

    from safetensors.numpy import load_file, save_file

    from dtm.foundations.types import Examples

    long = save_rows(tmp_path / "long.arrow", [([5] * 65, [True] * 65)])
    with pytest.raises(DataError, match="65 tokens, and the model's positions end at 64"):
        losses({**job, "examples": str(long)}, quiet)
    none = tmp_path / "none.arrow"
    Examples.open(long).take([]).save(none)
    with pytest.raises(DataError, match="no rendered row"):
        losses({**job, "examples": str(none)}, quiet)
    shutil.copytree(base, tmp_path / "broken")
    weights = load_file(tmp_path / "broken" / "model.safetensors")
    weights["model.norm.weight"] = np.full_like(weights["model.norm.weight"], np.nan)
    save_file(weights, tmp_path / "broken" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="not finite"):
        losses({**job, "model": str(tmp_path / "broken")}, quiet)
