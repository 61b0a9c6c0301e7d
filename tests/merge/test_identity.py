"""Random masks follow their model: its place, its name and its sharding do not matter, its content does."""

from __future__ import annotations

import pytest
import torch

from tests.merge.models import write_model

RANDOM = ["dare_linear", "dare_ties", "della", "della_linear"]


@pytest.fixture
def inputs(tensors):
    base = tensors(0, torch.float32)
    return base, [
        {name: one + 0.1 * tensors(k, torch.float32)[name] for name, one in base.items()} for k in (1, 2, 3)
    ]


@pytest.mark.parametrize("method", RANDOM)
def test_the_bytes_do_not_depend_on_names_and_shards(tmp_path, merged, inputs, method):
    base, models = inputs
    root = write_model(tmp_path / "base", base)
    one = [write_model(tmp_path / f"m{k}", model) for k, model in enumerate(models)]
    other = [write_model(tmp_path / f"other-{k}", model, shards=k + 1) for k, model in enumerate(models)]
    first, second = (merged(method, base=root, models=folders) for folders in (one, other))
    assert all(torch.equal(first[name], second[name]) for name in base)


@pytest.mark.parametrize("method", RANDOM)
def test_the_kept_values_are_the_same_in_any_order(tmp_path, merged, inputs, method):
    """Not nearly: with one model of weight 1 and others of weight 0, exactly that model's mask shows."""
    base, models = inputs
    root = write_model(tmp_path / "base", base)
    folders = [write_model(tmp_path / f"m{k}", model) for k, model in enumerate(models)]
    seen = []
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        weights = [float(number == 1) for number in order]
        seen.append(merged(method, base=root, models=[folders[k] for k in order], weights=weights,
                           settings={"density": 0.5, "normalize": False}))  # fmt: skip
    for name in base:
        assert torch.equal(seen[0][name], seen[1][name])
        assert torch.equal(seen[0][name], seen[2][name])
    assert any(not torch.equal(seen[0][name], base[name]) for name in base)


def test_the_same_model_twice_has_two_masks(tmp_path, merged, inputs):
    base, models = inputs
    root = write_model(tmp_path / "base", base)
    folder = write_model(tmp_path / "m", models[0])
    name = "model.layers.0.mlp.up_proj.weight"
    settings = {"density": 0.5, "rescale": False}
    single = merged("dare_linear", base=root, models=[folder], settings=settings)[name] - base[name]
    double = merged("dare_linear", base=root, models=[folder, folder], settings=settings)[name] - base[name]
    update = models[0][name] - base[name]
    kept_once = torch.isclose(double, update, atol=1e-6) & (update.abs() > 1e-3)
    kept_twice = torch.isclose(double, 2 * update, atol=1e-6) & (update.abs() > 1e-3)
    assert kept_once.sum() > 100
    assert kept_twice.sum() > 100
    assert ((single != 0) & ~(kept_once | kept_twice) & (update.abs() > 1e-3)).sum() == 0


def test_another_model_or_seed_has_another_mask(tmp_path, merged, inputs):
    base, models = inputs
    root = write_model(tmp_path / "base", base)
    name = "model.layers.0.mlp.up_proj.weight"
    nearly = {**models[0], "lm_head.weight": models[0]["lm_head.weight"].clone()}
    nearly["lm_head.weight"][0, 0] += 1
    masks = []
    for folder, seed in (("a", 0), ("b", 0), ("a", 1)):
        where = tmp_path / folder
        where = where if where.exists() else write_model(where, models[0] if folder == "a" else nearly)
        got = merged("dare_linear", base=root, models=[where], settings={"density": 0.5}, seed=seed)
        masks.append(got[name] == base[name])
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
