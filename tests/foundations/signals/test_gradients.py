"""Sketches against full gradients by autograd in fp64, one row at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.foundations.signals.gradients import group_gradients, open_trainable, row_gradients
from dtm.foundations.signals.grouped import Grouped
from dtm.foundations.signals.sketch import BLOCK, sketch
from tests.foundations.signals.rendered import job_of, quiet, random_rows, save_rows
from tests.tiny import tiny_model

ROWS = random_rows(20, seed=1)
SOURCES = [f"s{number % 4}" for number in range(len(ROWS))]
LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.5, "target_modules": "all-linear"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("base") / "model", hidden=16, seed=4)


@pytest.fixture(params=["full", "lora"])
def job(request, base, tmp_path):
    lora = LORA if request.param == "lora" else None
    return job_of(base, save_rows(tmp_path / "rows.arrow", ROWS, SOURCES), tmp_path, lora=lora, adapter_seed=5,
                  dimensions=512, seed=3, rows=100)  # fmt: skip


def load(job, name):
    return np.load(f"{job['output']}/{name}.npy")


def full_gradients(base, lora=None):
    """The gradient of each row's summed loss, fp64 by the name of what is trained, and its response tokens.

    With LoRA, the gradient of B at B = 0 is s G A', G being that of the layer's weight: no adapter is needed.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    gradients, counts = [], []
    for ids, said in ROWS:
        model.zero_grad()
        log_p = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], -1)
        told = [place for place in range(1, len(ids)) if said[place]]
        (-sum((log_p[t - 1, ids[t]] for t in told), start=0 * log_p.sum())).backward()
        full = {name: weight.grad for name, weight in model.named_parameters()}
        if lora is not None:
            full = {name: lora[1] * full[of] @ a.T.double() for name, (of, a) in lora[0].items()}
        gradients.append({name: one.clone() for name, one in full.items()})
        counts.append(len(told))
    return gradients, np.array(counts)


def first_halves(job):
    """For each B by name, the base's weight and the A that training draws; and the scale of the update."""
    model, weights = open_trainable(job)
    parameters = dict(model.named_parameters())
    halves = {
        name: (name.removeprefix("base_model.model.").replace(".lora_B.default", ""),
               parameters[name.replace("lora_B", "lora_A")].detach().clone())
        for name in weights
    }  # fmt: skip
    assert len(halves) == 14
    return halves, 8 / 4


@pytest.fixture
def expected(job, base):
    return full_gradients(base, first_halves(job) if job["lora"] else None)


def cosines(values):
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.where(norms == 0, 1, norms)
    return unit @ unit.T


def test_gradients_of_rows_are_sketches_of_those_by_autograd(job, expected):
    gradients, counts = expected
    assert row_gradients(job, quiet) == {"rows": len(ROWS), "dimensions": 512}
    found = load(job, "gradient")
    assert found[3].tolist() == [0] * 512  # no response token
    for row, one, count in zip(found, gradients, counts, strict=True):
        wanted = sketch(one, 512, 3) / max(count, 1)
        np.testing.assert_allclose(row, wanted, atol=1e-4 * np.abs(wanted).max())


def test_gradients_of_sources_are_means_over_their_tokens(job, expected):
    gradients, counts = expected
    assert group_gradients(job, quiet) == {"rows": len(ROWS), "groups": 4, "dimensions": 512}
    assert load(job, "groups").tolist() == [int(name[1:]) for name in SOURCES]
    for group, found in enumerate(load(job, "gradients")):
        wanted = sum(sketch(one, 512, 3) for one in gradients[group::4]) / counts[group::4].sum()
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_a_source_is_read_as_far_as_asked_by_seed_and_groups_may_be_given(job, tmp_path):
    def made(name, **changes):
        other = {**job_of(job["model"], job["examples"], tmp_path / name), **changes}
        return group_gradients({**job, **other}, quiet), load(other, "gradients")

    facts, few = made("few", rows=2)
    assert facts["rows"] == 8
    assert (few == made("again", rows=2)[1]).all()
    np.save(tmp_path / "given.npy", np.arange(len(ROWS)) % 2)
    facts, halves = made("halves", groups=str(tmp_path / "given.npy"))
    assert (facts["groups"], len(halves)) == (2, 2)


def test_the_error_of_cosines_falls_with_the_root_of_the_size(base):
    gradients, _ = full_gradients(base)
    exact = cosines(
        np.stack([np.concatenate([g.numpy().ravel() for g in one.values()]) for one in gradients])
    )
    errors = {
        size: np.sqrt(np.mean([
            np.square(cosines(np.stack([sketch(one, size, seed) for one in gradients])) - exact)
            for seed in range(6)
        ]))
        for size in (16, 128, 1024)
    }  # fmt: skip
    assert errors[16] == pytest.approx(8**0.5 * errors[128], rel=0.3)
    assert errors[128] == pytest.approx(8**0.5 * errors[1024], rel=0.3)
    assert errors[1024] < 1.2 / 1024**0.5


def test_inner_products_are_kept_in_the_mean_with_the_stated_variance():
    """Also where all the weight is in coordinates one turn apart, which without shifts would always meet."""
    x, y = np.zeros(64 * 40), np.zeros(64 * 40)
    x[::64], y[::64] = np.random.default_rng(0).normal(size=(2, 40))
    tensors = [{"w": torch.from_numpy(one)} for one in (x, y)]
    products = [float(np.dot(*(sketch(one, 64, seed) for one in tensors))) for seed in range(600)]
    bound = (x @ x * (y @ y) + (x @ y) ** 2) / 64
    assert np.mean(products) == pytest.approx(x @ y, abs=4 * np.sqrt(bound / 600))
    assert np.var(products) < 1.3 * bound


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700), st.integers(1, 200), st.integers(0, 99))
def test_every_coordinate_goes_to_one_place_with_a_sign(count, width, seed):
    whole = sketch({"w": torch.ones(count)}, width, seed)
    assert int(np.abs(whole).sum()) % 2 == count % 2
    one = torch.zeros(count)
    one[count // 2] = 1
    alone = sketch({"w": one}, width, seed)
    assert np.sort(np.abs(alone)).tolist() == [0] * (width - 1) + [1]


def test_a_sketch_is_linear_and_the_same_whatever_the_order_and_blocks():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(BLOCK + 1000, generator=generator), torch.randn(300, 7, generator=generator)
    both = sketch({"a": a, "b": b}, 100, 1)
    np.testing.assert_allclose(sketch({"b": b, "none": None, "a": a}, 100, 1), both, atol=1e-9)
    np.testing.assert_allclose(
        sketch({"a": 2 * a}, 100, 1) + sketch({"b": 2 * b}, 100, 1), 2 * both, atol=1e-3
    )
    head = torch.cat([a[:5000], torch.zeros(BLOCK - 4000)])
    np.testing.assert_allclose(sketch({"a": head}, 100, 1), sketch({"a": a[:5000]}, 100, 1), atol=1e-9)
    assert np.abs(sketch({"c": b}, 100, 1) - sketch({"b": b}, 100, 1)).max() > 1


def test_what_groups_have_in_common_is_held_once():
    grouped = Grouped(np.array([0, 1, 1, 0]), np.array([[1.0], [2.0]]))
    assert len(grouped) == 4
    assert grouped[np.array([1, 3])].groups_N.tolist() == [1, 0]
