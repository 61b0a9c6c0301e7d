"""Adapters written by peft: the merged weights against fp64 formulas, and the outputs against peft itself."""

from __future__ import annotations

import json
import math

import pytest
import torch

from dtm.foundations.registry import registry
from dtm.merge import merge_models
from tests.merge.models import bytes_of, read_model, within_one_rounding
from tests.tiny import tiny_model

LINEAR = registry("merge").bind("linear")
KINDS = {
    "plain": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
    "rslora": {"r": 6, "lora_alpha": 5, "use_rslora": True, "target_modules": ["q_proj", "down_proj"]},
    "patterns": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"],
                 "rank_pattern": {"layers.1.mlp.up_proj": 2}, "alpha_pattern": {"q_proj": 3}},
}  # fmt: skip
OTHERS = {
    "dora": {"r": 4, "lora_alpha": 8, "use_dora": True, "target_modules": ["q_proj", "up_proj"]},
    "bias": {"r": 4, "lora_alpha": 8, "lora_bias": True, "target_modules": ["c_attn", "c_proj"]},
    "trained_bias": {"r": 4, "lora_alpha": 8, "bias": "all", "target_modules": ["c_attn"]},
    "embedding": {"r": 4, "lora_alpha": 8, "target_modules": ["embed_tokens", "q_proj"]},
    "saved_head": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("bases") / "tied", seed=1, tie=True)


@pytest.fixture(scope="module")
def untied(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("bases") / "untied", seed=2, tie=False)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """Linear layers stored [in, out], and with biases."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("bases") / "gpt2"
    config = GPT2Config(
        n_embd=16, n_layer=2, n_head=2, vocab_size=40, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore::UserWarning")
def adapt(base, folder, seed, **config):
    """A peft adapter with random factors, biases, magnitudes and saved modules."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
                           LoraConfig(task_type="CAUSAL_LM", **config))  # fmt: skip
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                noise = torch.randn_like(parameter) * 0.05
                parameter.copy_(noise.abs() + 0.5 if "magnitude" in name else noise)
    model.save_pretrained(folder)
    return folder


def logits(base, adapter=None):
    """In fp64, so that the rounding of the weights shows, and of the fp32 norms inside."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64).eval()
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).eval()
    with torch.no_grad():
        return model(torch.arange(24).reshape(2, 12)).logits


def updates64(base, adapter):
    """{weight: s B A} in fp64, written from the LoRA and rsLoRA papers."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    tensors, found = read_model(adapter), {}
    for name in tensors:
        if name.endswith("lora_A.weight"):
            module = name.removesuffix(".lora_A.weight")
            A, B = tensors[name].double(), tensors[module + ".lora_B.weight"].double()
            alpha = config["lora_alpha"]
            for pattern, own in config["alpha_pattern"].items():
                alpha = own if module.endswith(pattern) else alpha
            scale = alpha / (math.sqrt(len(A)) if config["use_rslora"] else len(A))
            found[module.removeprefix("base_model.model.") + ".weight"] = scale * (B @ A)
    return found


@pytest.mark.parametrize("kinds", [["plain", "plain"], ["plain", "rslora", "patterns"]])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lora_merges_as_exact_updates(tmp_path, merged, llama, untied, kinds, tied, dtype):
    base = llama if tied else untied
    adapters = [adapt(base, tmp_path / f"a{k}", k, **KINDS[kind]) for k, kind in enumerate(kinds)]
    weights = [3.0, 1.0, 2.0][: len(adapters)]

    got = merged(base=base, models=adapters, weights=weights, dtype=dtype)

    exact = {name: tensor.double() for name, tensor in read_model(base).items()}
    for weight, adapter in zip(weights, adapters, strict=True):
        for name, update in updates64(base, adapter).items():
            exact[name] = exact[name] + weight / sum(weights) * update
    assert got.keys() == exact.keys()
    for name, tensor in got.items():
        assert within_one_rounding(tensor, exact[name], slack=1e-8), name


@pytest.mark.parametrize("kind", [*KINDS, "dora", "embedding", "saved_head"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_adapter_merged_is_the_adapter_s_model(tmp_path, llama, untied, kind, tied):
    base = llama if tied else untied
    adapter = adapt(base, tmp_path / "a", 5, **{**KINDS, **OTHERS}[kind])
    merge_models(base=base, models=[adapter], output=tmp_path / "out", method=LINEAR, weights=[1])
    change = (logits(base) - logits(base, adapter)).abs().max()
    assert change > 1e-2
    torch.testing.assert_close(logits(tmp_path / "out"), logits(base, adapter), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["bias", "trained_bias"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_layers_that_store_in_by_out_and_their_biases(tmp_path, gpt2, kind):
    adapter = adapt(gpt2, tmp_path / "a", 7, fan_in_fan_out=True, **OTHERS[kind])
    merge_models(base=gpt2, models=[adapter], output=tmp_path / "out", method=LINEAR, weights=[1])
    torch.testing.assert_close(logits(tmp_path / "out"), logits(gpt2, adapter), atol=1e-5, rtol=0)


def test_dense_and_adapted_models_merge_together(tmp_path, merged, llama):
    adapter = adapt(llama, tmp_path / "a", 1, **KINDS["plain"])
    dense = tiny_model(tmp_path / "dense", seed=9, tie=True)

    got = merged(base=llama, models=[adapter, dense], weights=[1, 1])

    first, second, updates = read_model(llama), read_model(dense), updates64(llama, adapter)
    for name, tensor in got.items():
        exact = (first[name].double() + updates.get(name, 0) + second[name].double()) / 2
        assert within_one_rounding(tensor, exact, slack=1e-8), name


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_exported_concatenation_is_the_dense_merge(tmp_path, llama):
    adapters = [adapt(llama, tmp_path / f"a{k}", k, **KINDS[kind]) for k, kind in enumerate(KINDS)]
    common = {"base": llama, "models": adapters, "method": LINEAR, "weights": [1, 2, 1]}
    merge_models(output=tmp_path / "dense", **common)
    merge_models(output=tmp_path / "cat", export="adapter", **common)

    config = json.loads((tmp_path / "cat/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (14, 14, False)
    assert config["inference_mode"] is True
    assert list(config) == sorted(config)
    torch.testing.assert_close(logits(llama, tmp_path / "cat"), logits(tmp_path / "dense"), atol=1e-5, rtol=0)


@pytest.mark.parametrize("export", ["model", "adapter"])
def test_adapter_space_averages_the_factors(tmp_path, llama, export):
    adapters = [adapt(llama, tmp_path / f"a{k}", k, **KINDS["plain"]) for k in range(2)]
    merge_models(base=llama, models=adapters, output=tmp_path / "out", method=LINEAR, weights=[1, 1],
                 space="adapter", export=export)  # fmt: skip
    first, second = (read_model(adapter) for adapter in adapters)
    mean = {name: (first[name].double() + second[name].double()) / 2 for name in first}
    base, got = read_model(llama), read_model(tmp_path / "out")
    for name in (name for name in mean if name.endswith("lora_A.weight")):
        update = 2.0 * mean[name.replace("lora_A", "lora_B")] @ mean[name]
        if export == "adapter":
            found = got[name.replace("lora_A", "lora_B")].double() @ got[name].double()
            torch.testing.assert_close(found, update, atol=1e-8, rtol=1e-6)
        else:
            weight = name.removeprefix("base_model.model.").replace("lora_A.", "")
            assert within_one_rounding(got[weight], base[weight].double() + update, slack=1e-8)


@pytest.mark.parametrize(
    "method", ["linear", "lora_cat", "lora_svd", "lora_average", "pico", "ties", "dare_ties"]
)
def test_adapters_merge_to_the_same_bytes_on_any_threads(tmp_path, llama, method):
    adapters = [adapt(llama, tmp_path / f"a{k}", k, **KINDS["plain"]) for k in range(3)]
    seen: dict[str, list] = {"model": [], "adapter": []}
    for export in ("model", "adapter") if method not in ("ties", "dare_ties") else ("model",):
        for threads in (1, 2, 8):
            out = tmp_path / f"{export}-{threads}"
            merge_models(base=llama, models=adapters, output=out, method=registry("merge").bind(method), export=export,
                         weights=[1, 2, 3], threads=threads)  # fmt: skip
            seen[export].append(bytes_of(out))
        assert seen[export][0] == seen[export][1] == seen[export][2]


@pytest.mark.parametrize("export", ["model", "adapter"])
@pytest.mark.parametrize("rank", [3, 8])
def test_the_error_of_the_best_rank_is_told(tmp_path, llama, rank, export):
    """Against a dense SVD of each module's exact update: Eckart and Young's tail."""
    adapters = [adapt(llama, tmp_path / f"a{k}", k, **KINDS["plain"]) for k in range(3)]
    facts = merge_models(base=llama, models=adapters, output=tmp_path / "out", weights=[1, 2, 3], export=export,
                         method=registry("merge").bind("lora_svd", {"rank": rank}))  # fmt: skip
    updates = [updates64(llama, adapter) for adapter in adapters]
    errors, squares = {}, []
    for name in updates[0]:
        values = torch.linalg.svdvals(
            sum(w / 6 * one[name] for w, one in zip((1, 2, 3), updates, strict=True))
        )
        errors[name] = float((values[rank:] ** 2).sum() / (values**2).sum()) ** 0.5
        squares.append((float((values[rank:] ** 2).sum()), float((values**2).sum())))
    told = facts["low_rank"]
    assert told["worst"]["tensor"] == max(errors, key=lambda name: errors[name])
    assert told["worst"]["relative_error"] == pytest.approx(max(errors.values()), rel=1e-4)
    overall = (sum(error for error, _ in squares) / sum(whole for _, whole in squares)) ** 0.5
    assert told["relative_error"] == pytest.approx(overall, rel=1e-4)
    card = (tmp_path / "out/README.md").read_text()
    assert f"relative error (Frobenius norm) is {told['relative_error']:.4g} over all modules" in card
    exact = merge_models(base=llama, models=adapters, output=tmp_path / "cat", weights=[1, 2, 3], method=LINEAR,
                         digest=lambda path: path.name)  # fmt: skip
    assert list(exact["inputs"])[:3] == ["base: model.safetensors", "sub-model 0: adapter_config.json",
                                         "sub-model 0: adapter_model.safetensors"]  # fmt: skip
    assert "low_rank" not in exact
    assert "relative error" not in (tmp_path / "cat/README.md").read_text()


def test_adapters_that_cannot_be_averaged_or_exported_are_refused_by_name(tmp_path, llama):
    one = adapt(llama, tmp_path / "one", 0, r=2, target_modules=["q_proj"])
    two = adapt(llama, tmp_path / "two", 0, r=4, target_modules=["q_proj"])
    with pytest.raises(ValueError, match=r"q_proj.*cannot be averaged"):
        merge_models(base=llama, models=[one, two], output=tmp_path / "x", method=LINEAR, weights=[1, 1],
                     space="adapter")  # fmt: skip
    dora = adapt(llama, tmp_path / "dora", 0, **OTHERS["dora"])
    with pytest.raises(ValueError, match="DoRA"):
        merge_models(
            base=llama, models=[dora], output=tmp_path / "x", method=LINEAR, weights=[1], export="adapter"
        )
    config = json.loads((one / "adapter_config.json").read_text())
    for change, message in [({"target_parameters": ["a"]}, "target_parameters"), ({"peft_type": "LOHA"}, "LOHA"),
                            ({"r": 3}, "rank 3")]:  # fmt: skip
        (one / "adapter_config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError, match=message):
            merge_models(base=llama, models=[one], output=tmp_path / "x", method=LINEAR, weights=[1])
    assert not (tmp_path / "x").exists()


def test_two_bases_and_a_base_that_does_not_fit(tmp_path, llama, gpt2):
    one = adapt(llama, tmp_path / "one", 0, r=2, target_modules=["q_proj"])
    config = json.loads((one / "adapter_config.json").read_text())
    other = adapt(llama, tmp_path / "other", 0, r=2, target_modules=["q_proj"])
    (other / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": "org/elsewhere"})
    )
    with pytest.raises(ValueError, match="different bases"):
        merge_models(base=llama, models=[one, other], output=tmp_path / "x", method=LINEAR, weights=[1, 1])
    with pytest.raises(ValueError, match="does not have"):
        merge_models(base=gpt2, models=[one], output=tmp_path / "x", method=LINEAR, weights=[1])
    with pytest.raises(ValueError, match="no base is given"):
        merge_models(base=None, models=[one], output=tmp_path / "x", method=LINEAR, weights=[1])
