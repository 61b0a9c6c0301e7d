"""Agreement with peft's `add_weighted_adapter` where its arithmetic is ours, and by how much it differs where not.

peft combines what `combination_type` says: whole products for `svd` and `..._svd`, and the factors A and B one by one
for `linear`, `ties` and `dare_linear`, whose product is then no combination of the adapters' updates.
"""

from __future__ import annotations

import pytest
import torch

from dtm.foundations.registry import registry
from dtm.merge import merge_models
from tests.merge.models import read_model
from tests.merge.test_adapters import KINDS, adapt, updates64
from tests.tiny import tiny_model

BIND = registry("merge").bind
WEIGHTS = [0.7, 0.2, 1.1]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("peft") / "base", seed=1, tie=False)


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return [adapt(base, folder / f"a{k}", k, **KINDS["plain"]) for k in range(3)]


@pytest.fixture(scope="module")
def narrow(base, tmp_path_factory):
    """Adapters of modules that have 16 outputs, so that an SVD of rank 16 leaves nothing out."""
    folder = tmp_path_factory.mktemp("narrow")
    only = {"r": 4, "lora_alpha": 8, "target_modules": ["k_proj", "v_proj"]}
    return [adapt(base, folder / f"a{k}", k, **only) for k in range(3)]


def peft_update(base, adapters, weights, **how):
    """{weight: update} of the adapter that peft makes of them, in fp64."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    for number, adapter in enumerate(adapters):
        if number:
            model.load_adapter(adapter, adapter_name=f"a{number}")
        else:
            model = PeftModel.from_pretrained(model, adapter, adapter_name="a0")
    model.add_weighted_adapter([f"a{k}" for k in range(len(adapters))], weights, "both", **how)
    found = {}
    for name, module in model.base_model.model.named_modules():
        if hasattr(module, "lora_A") and "both" in module.lora_A:
            product = module.lora_B["both"].weight.double() @ module.lora_A["both"].weight.double()
            found[name + ".weight"] = (module.scaling["both"] * product).detach()
    return found


def our_update(tmp_path, base, adapters, weights, method, **more):
    merge_models(base=base, models=adapters, output=tmp_path / "ours", method=method, weights=weights, **more)
    start, merged = read_model(base), read_model(tmp_path / "ours")
    return {name: merged[name].double() - start[name].double() for name in start}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_cat_is_peft_s_cat(tmp_path, base, adapters):
    theirs = peft_update(base, adapters, WEIGHTS, combination_type="cat")
    ours = our_update(tmp_path, base, adapters, WEIGHTS, BIND("lora_cat", {"normalize": False}))
    for name, update in theirs.items():
        torch.testing.assert_close(ours[name], update, atol=2e-7, rtol=0)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("rank", [2, 5])
def test_svd_is_peft_s_svd(tmp_path, base, adapters, rank):
    theirs = peft_update(base, adapters, WEIGHTS, combination_type="svd", svd_rank=rank)
    ours = our_update(tmp_path, base, adapters, WEIGHTS, BIND("lora_svd", {"rank": rank, "normalize": False}))
    for name, update in theirs.items():
        torch.testing.assert_close(ours[name], update, atol=1e-6, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("density", [0.2, 0.5])
def test_ties_of_products_is_peft_s_where_all_weights_are_one(tmp_path, base, narrow, density):
    """peft elects by the unweighted sum and divides by the count of what agrees; with weights it is another method."""
    ones = [1.0] * 3
    theirs = peft_update(base, narrow, ones, combination_type="ties_svd", svd_rank=16, density=density)
    ours = our_update(tmp_path, base, narrow, ones, BIND("ties", {"density": density}))
    assert len(theirs) == 4
    for name, update in theirs.items():
        torch.testing.assert_close(ours[name], update, atol=2e-6, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dare_that_drops_nothing_is_peft_s_sum(tmp_path, base, narrow):
    theirs = peft_update(base, narrow, WEIGHTS, combination_type="dare_linear_svd", svd_rank=12, density=1.0)
    ours = our_update(tmp_path, base, narrow, WEIGHTS, BIND("dare_linear", {"density": 1.0}))
    for name, update in theirs.items():
        torch.testing.assert_close(ours[name], update, atol=2e-6, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["linear", "ties", "dare_linear"])
def test_what_peft_does_to_factors_is_not_a_merge_of_updates(base, adapters, kind):
    """What the documentation says of them: far from the sum of the updates, which `cat` gives exactly."""
    how = {} if kind == "linear" else {"density": 1.0}
    theirs = peft_update(base, adapters, WEIGHTS, combination_type=kind, **how)
    each = [updates64(base, adapter) for adapter in adapters]
    for name, update in theirs.items():
        exact = sum(weight * one[name] for weight, one in zip(WEIGHTS, each, strict=True))
        assert torch.linalg.norm(update - exact) > 0.3 * torch.linalg.norm(exact)
