"""Fisher and Gram against closed forms: per-row autograd and inputs in fp64, on a tiny model and a LoRA of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.numpy import load_file

from dtm.foundations.errors import DataError, ModelError
from dtm.foundations.signals.fisher import fisher
from dtm.foundations.signals.gram import gram
from dtm.foundations.signals.submodel import touched
from dtm.foundations.types import SCHEMA, TOKENS, Examples
from tests.tiny import tiny_model

ROWS = [
    ([3, 9, 40, 7, 8], [0, 0, 1, 1, 1]),
    ([5, 6, 7], [0, 1, 1]),
    ([200, 4, 4, 90, 17, 2], [0, 0, 0, 0, 1, 1]),
]


def quiet(data):
    pass


def write_rows(path: Path, rows=ROWS) -> Path:
    plain = {"id": [str(n) for n in range(len(rows))], "source": ["s"] * len(rows), "messages": [[]] * len(rows),
             "parent": [None] * len(rows), "family": ["f"] * len(rows), "meta": [None] * len(rows)}  # fmt: skip
    table = pa.table(plain, schema=SCHEMA)
    for name, column in zip(TOKENS.names, zip(*rows, strict=True), strict=True):
        values = [[bool(x) for x in one] for one in column] if name == "assistant_mask" else list(column)
        table = table.append_column(TOKENS.field(name), pa.array(values, TOKENS.field(name).type))
    Examples(table).save(path)
    return path


@pytest.fixture(scope="module", params=["full", "lora"])
def submodel(request, tmp_path_factory):
    """(base folder, adapter folder or None, the same model in fp64, names of the weights that changed)."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp(request.param)
    base = tiny_model(folder / "base", hidden=16, seed=4)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    if request.param == "full":
        return base, None, model, {name for name, _ in model.named_parameters()}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapted = get_peft_model(
            AutoModelForCausalLM.from_pretrained(base),
            LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj", "down_proj"], init_lora_weights=False),
        )
    adapted.save_pretrained(folder / "adapter")
    parts = load_file(folder / "adapter" / "adapter_model.safetensors")
    changed, weights = set(), dict(model.named_parameters())
    for key in [key for key in parts if ".lora_A" in key]:
        name = key.removeprefix("base_model.model.").replace(".lora_A", "")
        update = 1.5 * parts[key.replace("lora_A", "lora_B")].astype(np.float64) @ parts[key]
        weights[name].data += torch.from_numpy(update)
        changed.add(name)
    return base, folder / "adapter", model, changed


def job_of(submodel, out, **changes):
    base, adapter, *_ = submodel
    return {"model": str(base), "adapter": adapter and str(adapter), "rows": 3, "seed": 0, "device": "cpu",
            "examples": str(write_rows(out / "rows.arrow")), "output": str(out), "threads": 1, **changes}  # fmt: skip


def test_fisher_is_the_mean_of_squared_gradients_of_each_rows_likelihood(submodel, tmp_path):
    _, _, model, changed = submodel
    expected = dict.fromkeys(changed, 0)
    for ids, said in ROWS:
        model.zero_grad()
        log_p = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].double(), -1)
        sum(log_p[t - 1, ids[t]] for t in range(1, len(ids)) if said[t]).backward()
        for name, weight in model.named_parameters():
            if name in changed and weight.grad is not None:
                expected[name] = expected[name] + weight.grad.numpy() ** 2 / len(ROWS)
    facts = fisher(job_of(submodel, tmp_path), quiet)
    found = load_file(tmp_path / "statistics.safetensors")
    assert facts["rows"] == 3
    assert found.keys() == changed
    for name in changed:
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-5 * scale, err_msg=name)


def test_with_drawn_labels_it_is_the_fisher_information_of_the_models_own_predictions(tmp_path):
    """One token to predict: F = sum_v p(v) (d log p(v) / d theta)^2, which 300 draws must come near."""
    from transformers import AutoModelForCausalLM

    base = tiny_model(tmp_path / "base", hidden=16, layers=1, seed=4)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    weights = dict(model.named_parameters())
    ids, draws = [3, 9, 40, 7], 300
    log_p = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, 2], -1)
    expected = dict.fromkeys(weights, 0.0)
    for value in log_p:
        gradients = torch.autograd.grad(value, list(weights.values()), retain_graph=True)
        for name, one in zip(weights, gradients, strict=True):
            expected[name] = expected[name] + value.exp().item() * one.numpy() ** 2
    job = job_of((base, None), tmp_path, rows=draws, labels="drawn")
    write_rows(tmp_path / "rows.arrow", [(ids, [0, 0, 0, 1])] * draws)
    fisher(job, quiet)
    found = load_file(tmp_path / "statistics.safetensors")
    for name in ("model.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.v_proj.weight"):
        assert np.corrcoef(found[name].ravel(), expected[name].ravel())[0, 1] > 0.9
    total = sum(one.sum() for one in expected.values())
    assert sum(one.sum() for one in found.values()) == pytest.approx(total, rel=0.1)
    fisher({**job, "labels": "given"}, quiet)
    given = load_file(tmp_path / "statistics.safetensors")
    assert abs(sum(one.sum() for one in given.values()) - total) > 0.3 * total


def test_gram_is_the_sum_of_outer_products_of_each_layers_inputs(submodel, tmp_path):
    _, _, model, changed = submodel
    inputs: dict[str, list[np.ndarray]] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and f"{name}.weight" in changed:
            module.register_forward_pre_hook(
                lambda _, x, name=name: inputs.setdefault(f"{name}.weight", []).append(
                    x[0][0].detach().numpy()
                )
            )
    with torch.no_grad():
        for ids, _ in ROWS:
            model(input_ids=torch.tensor([ids]))
    gram(job_of(submodel, tmp_path), quiet)
    found = load_file(tmp_path / "statistics.safetensors")
    assert found.keys() == inputs.keys()
    assert len(found) == (14 if changed > {"model.embed_tokens.weight"} else 4)
    for name, rows in inputs.items():
        x = np.concatenate(rows)
        expected = x.T @ x
        np.testing.assert_allclose(found[name], expected, atol=1e-5 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("statistic", [fisher, gram])
def test_the_sample_is_seeded_and_same_jobs_give_same_bytes(submodel, tmp_path, statistic):
    def made(name, **changes):
        (tmp_path / name).mkdir()
        statistic(job_of(submodel, tmp_path / name, rows=1, **changes), quiet)
        return (tmp_path / name / "statistics.safetensors").read_bytes()

    first = made("first")
    assert first == made("again")
    assert len({first, *(made(str(seed), seed=seed) for seed in range(1, 9))}) > 1


def test_the_engine_takes_the_files_and_weighs_by_them(submodel, tmp_path):
    """Fisher of one model far above the other's: the merge is the first model."""
    from dtm.foundations.registry import registry
    from dtm.merge import merge_models

    base, adapter, model, _ = submodel
    fisher(job_of(submodel, tmp_path), quiet)
    found = load_file(tmp_path / "statistics.safetensors")
    from safetensors.numpy import save_file

    save_file(
        {name: np.full_like(values, 1e-30) for name, values in found.items()}, tmp_path / "none.safetensors"
    )
    other = adapter or base
    merge_models(base=base, models=[adapter or base, other], output=tmp_path / "out", weights=[1.0, 1.0],
                 method=registry("merge").bind("fisher"),
                 statistics=[tmp_path / "statistics.safetensors", tmp_path / "none.safetensors"])  # fmt: skip
    merged = load_file(tmp_path / "out" / "model.safetensors")
    for name, weight in model.named_parameters():
        np.testing.assert_allclose(merged[name], weight.detach().numpy(), atol=1e-6, err_msg=name)


def test_names_of_an_adapter(submodel):
    _, adapter, _, changed = submodel
    if adapter:
        assert touched(adapter) == changed


def test_no_rows_and_a_broken_model_are_told(submodel, tmp_path):
    job = job_of(submodel, tmp_path)
    none = tmp_path / "none.arrow"
    Examples.open(Path(job["examples"])).take([]).save(none)
    with pytest.raises(DataError, match="no rendered row"):
        fisher({**job, "examples": str(none)}, quiet)
    if submodel[1] is None:
        import shutil

        from safetensors.numpy import save_file

        shutil.copytree(submodel[0], tmp_path / "broken")
        weights = load_file(tmp_path / "broken" / "model.safetensors")
        weights["model.norm.weight"] = np.full_like(weights["model.norm.weight"], np.nan)
        save_file(weights, tmp_path / "broken" / "model.safetensors", {"format": "pt"})
        with pytest.raises(ModelError, match="not finite"):
            fisher({**job, "model": str(tmp_path / "broken")}, quiet)
