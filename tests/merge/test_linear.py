"""The weighted mean against fp64, over types, shards, threads and ties."""

from __future__ import annotations

import pytest
import torch

from dtm.foundations.errors import ConfigError
from dtm.foundations.registry import registry
from dtm.merge import merge_models
from tests.merge.models import TYPES, bytes_of, read_model, within_one_rounding, write_model

LINEAR = registry("merge").bind("linear")


@pytest.mark.parametrize("dtype", sorted(TYPES))
@pytest.mark.parametrize("shards", [1, 3])
def test_the_mean_is_one_rounding_from_fp64(tmp_path, tensors, merged, dtype, shards):
    inputs = [tensors(seed, TYPES[dtype]) for seed in range(4)]
    folders = [write_model(tmp_path / f"m{k}", one, shards if k else 1) for k, one in enumerate(inputs)]
    weights = [0.1, 0.5, 2.0]

    got = merged(base=folders[0], models=folders[1:], weights=weights)

    for name, tensor in inputs[0].items():
        exact = sum(w * one[name].double() for w, one in zip(weights, inputs[1:], strict=True)) / sum(weights)
        assert got[name].dtype == tensor.dtype
        assert within_one_rounding(got[name], exact), name


def test_mixed_types_keep_the_base_s_and_dtype_overrides(tmp_path, tensors, merged):
    inputs = [tensors(k, dtype) for k, dtype in enumerate(TYPES.values())]
    folders = [write_model(tmp_path / f"m{k}", one) for k, one in enumerate(inputs)]

    as_base = merged(base=folders[1], models=folders)
    as_asked = merged(base=folders[1], models=folders, dtype="float32")

    assert {tensor.dtype for tensor in as_base.values()} == {inputs[1]["model.scalar"].dtype}
    for name, tensor in as_asked.items():
        exact = sum(one[name].double() for one in inputs) / 3
        assert tensor.dtype == torch.float32
        assert within_one_rounding(tensor, exact)


def test_a_model_larger_than_blocks_has_the_same_bytes_on_any_number_of_threads(tmp_path):
    shapes = {"a.0.weight": (1500, 1100), "b.0.weight": (70_001,), "c": (3, 90_000)}
    folders = []
    for k in range(3):
        torch.manual_seed(k)
        folders.append(
            write_model(tmp_path / f"m{k}", {n: torch.randn(s).bfloat16() for n, s in shapes.items()})
        )
    seen = []
    for threads in (1, 2, 8):
        out = tmp_path / f"out{threads}"
        merge_models(base=None, models=folders, output=out, method=LINEAR, weights=[1, 2, 3], threads=threads)
        seen.append(bytes_of(out))
    assert seen[0] == seen[1] == seen[2]
    inputs = [read_model(folder) for folder in folders]
    for name, tensor in read_model(out).items():
        exact = sum(w * one[name].double() for w, one in zip((1, 2, 3), inputs, strict=True)) / 6
        assert within_one_rounding(tensor, exact), name


def test_weights_may_follow_depth_and_names(tmp_path, tensors, merged):
    inputs = [tensors(seed, torch.float32) for seed in range(2)]
    folders = [write_model(tmp_path / f"m{k}", one) for k, one in enumerate(inputs)]
    rising = [{"filter": "mlp", "value": [0.0, 1.0]}, {"value": 0.25}]
    falling = [{"filter": "mlp", "value": [1.0, 0.0]}, {"value": 0.75}]

    got = merged(models=folders, weights=[rising, falling])

    assert torch.equal(
        got["model.layers.0.mlp.up_proj.weight"], inputs[1]["model.layers.0.mlp.up_proj.weight"]
    )
    assert torch.equal(
        got["model.layers.1.mlp.up_proj.weight"], inputs[0]["model.layers.1.mlp.up_proj.weight"]
    )
    exact = 0.25 * inputs[0]["lm_head.weight"].double() + 0.75 * inputs[1]["lm_head.weight"].double()
    assert within_one_rounding(got["lm_head.weight"], exact)


def test_a_tied_model_and_an_untied_one_merge_untied(tmp_path, tensors, merged):
    tied, untied = tensors(0, torch.float32), tensors(1, torch.float32)
    head = "lm_head.weight"
    embedding = tied["model.embed_tokens.weight"]
    del tied[head]
    one = write_model(tmp_path / "tied", tied, tie_word_embeddings=True)
    other = write_model(tmp_path / "untied", untied, tie_word_embeddings=False)

    got = merged(base=one, models=[one, other])

    assert within_one_rounding(got[head], (embedding.double() + untied[head].double()) / 2)
    assert head not in merged(base=one, models=[one, one])


def test_integer_buffers_are_copied_and_must_agree(tmp_path, tensors, merged):
    inputs = [{**tensors(k), "position_ids": torch.arange(7)} for k in range(2)]
    folders = [write_model(tmp_path / f"m{k}", one) for k, one in enumerate(inputs)]
    assert torch.equal(merged(models=folders)["position_ids"], torch.arange(7))

    other = write_model(tmp_path / "other", {**tensors(3), "position_ids": torch.arange(7).flip(0)})
    with pytest.raises(ValueError, match="position_ids"):
        merged(models=[folders[0], other])


def test_weights_that_sum_to_zero_are_an_error(tmp_path, tensors, merged):
    folders = [write_model(tmp_path / f"m{k}", tensors(k)) for k in range(2)]
    with pytest.raises(ConfigError, match="sum to 0"):
        merged(models=folders, weights=[1, -1])
    sums = merged(models=folders, weights=[1, -1], settings={"normalize": False})
    exact = tensors(0)["model.norm.weight"].double() - tensors(1)["model.norm.weight"].double()
    assert within_one_rounding(sums["model.norm.weight"], exact)


def test_a_card_an_index_and_a_config_stand_beside_the_weights(tmp_path, tensors):
    folders = [write_model(tmp_path / f"m{k}", tensors(k), 2) for k in range(2)]
    (folders[0] / "tokenizer.json").write_text("{}")
    out = tmp_path / "out"
    out.mkdir()  # an empty folder is filled in place
    merge_models(base=folders[0], models=folders, output=out, method=LINEAR, weights=[1, 1], dtype="float16",
                 card={"base_model": "org/base", "recipe": {"recipe": "disperse_then_merge"}})  # fmt: skip

    names = {path.name for path in out.iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors.index.json", "tokenizer.json",
                     "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}  # fmt: skip
    card = (out / "README.md").read_text()
    assert card.startswith(
        "---\nbase_model:\n- org/base\nlibrary_name: transformers\ntags:\n- merge\n- dtm\n---\n"
    )
    assert "recipe: disperse_then_merge" in card
    assert '"dtype": "float16"' in (out / "config.json").read_text()


def test_an_output_that_holds_something_is_refused(tmp_path, tensors):
    folder = write_model(tmp_path / "m", tensors(0))
    with pytest.raises(ConfigError, match="not an empty folder"):
        merge_models(base=None, models=[folder], output=folder, method=LINEAR, weights=[1])
