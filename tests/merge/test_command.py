"""Merge files in our words and in mergekit's, from YAML to numbers."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from dtm.foundations.errors import DtmError
from dtm.foundations.registry import registry
from dtm.merge import merge, merge_models, plan_merge
from dtm.merge.command import run
from tests.merge import references
from tests.merge.models import bytes_of, read_model, within_one_rounding, write_model
from tests.tiny import tiny_model


@pytest.fixture
def models(tmp_path, tensors):
    """A base and three sub-models, fp32, with configs."""
    for k, name in enumerate(["base", "a", "b", "c"]):
        write_model(tmp_path / name, tensors(k, torch.float32), num_hidden_layers=2)
    return tmp_path


def carry_out(folder, content, **options):
    path = folder / "merge.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    facts = run(path, folder / "out", **options)
    return facts, read_model(folder / "out")


def exact(folder, method, names, weights, **given):
    """The fp64 reference of every tensor."""
    base, *others = (read_model(folder / name) for name in ("base", *names))
    return {name: torch.from_numpy(np.asarray(getattr(references, method)(
        tensor.double().numpy(), np.stack([one[name].double().numpy() for one in others]), np.array(weights), **given)))
        for name, tensor in base.items()}  # fmt: skip


def agree(got, expected):
    return all(within_one_rounding(got[name], expected[name], slack=1e-6) for name in expected)


def test_our_words(models):
    facts, got = carry_out(models, """
        base: base
        method: {name: ties, density: 0.4}
        models: [a, {path: b, weight: 2}]
        """)  # fmt: skip
    assert agree(got, exact(models, "ties", ["a", "b"], [1.0, 2.0], density=0.4))
    assert facts["passes"] == 3
    assert "density: 0.4" in (models / "out/README.md").read_text()


def test_a_density_a_model(models):
    _, got = carry_out(models, {"base": "base", "method": "ties", "models": [
        {"path": "a", "density": 0.3}, {"path": "b", "density": 0.9}]})  # fmt: skip
    base, a, b = (read_model(models / name) for name in ("base", "a", "b"))
    for name, tensor in base.items():
        taus = [(one[name].double() - tensor.double()).numpy() for one in (a, b)]
        kept = [np.where(references.largest(tau, int(tau.size * share)), tau, 0)
                for tau, share in zip(taus, (0.3, 0.9), strict=True)]  # fmt: skip
        expected = tensor.double() + torch.tensor(references.elected(np.stack(kept), np.ones(2), True))
        assert within_one_rounding(got[name], expected, slack=1e-6)


def test_python_takes_the_same_as_a_dict(models):
    base, *others = (str(models / name) for name in ("base", "a", "b"))
    content = {"base": base, "method": "task_arithmetic", "models": others, "weights": [0.5, 0.25]}
    merge(content, models / "out")
    assert agree(read_model(models / "out"), exact(models, "task_arithmetic", ["a", "b"], [0.5, 0.25]))


def test_a_dry_run_writes_nothing(models):
    path = models / "merge.yaml"
    path.write_text("base: base\nmethod: ties\nmodels: [a, b]\n")
    facts = run(path, models / "out", dry_run=True)
    assert not (models / "out").exists()
    floats = sum(tensor.numel() for tensor in read_model(models / "base").values())
    assert facts["parameters"] == floats
    assert facts["bytes_in"] == 3 * 3 * 4 * floats  # three passes over three models
    assert facts["bytes_out"] > 4 * floats


def test_all_mistakes_of_a_file_at_once(models):
    with pytest.raises(DtmError) as caught:
        carry_out(models, {"metod": "ties", "models": ["a"], "space": "somewhere", "seed": "x"})
    assert all(word in str(caught.value) for word in ("metod", "Did you mean 'method'", "somewhere", "'x'"))
    for content, message in [("method: [", "merge.yaml:1:10: this is not valid YAML"), ("- a", "must be keys"),
                             ({"method": "tise", "models": ["a"]}, "Did you mean 'ties'"),
                             ({"method": {"name": "ties", "densty": 1}, "models": ["a"]}, "Did you mean 'density'"),
                             ({"method": "linear", "models": ["nowhere"]}, "nowhere"),
                             ({"method": "linear", "models": ["a"], "weights": [1], "dtype": "int4"}, "int4"),
                             ({"method": "linear", "models": [{"path": "a", "weight": 1}], "weights": [1]}, "twice"),
                             ({"method": "linear", "models": ["a"], "weights": ["x"]}, "not a number")]:  # fmt: skip
        with pytest.raises(DtmError, match=message):
            carry_out(models, content)
    assert not (models / "out").exists()


def test_a_hub_id_is_fetched_by_its_name(models, monkeypatch):
    import huggingface_hub

    asked = []

    def fetch(repository, revision, allow_patterns):
        asked.append((repository, revision))
        assert not any(".bin" in pattern for pattern in allow_patterns)
        return str(models / "b")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    carry_out(models, {"method": "linear", "models": ["a", "org/name@abc"]})
    assert asked == [("org/name", "abc")]


MERGEKIT = {
    "linear": ({"merge_method": "linear", "models": [{"model": "a", "parameters": {"weight": 1.0}},
                                                     {"model": "b", "parameters": {"weight": 0.3}}]},
               ("linear", ["a", "b"], [1.0, 0.3], {})),
    "the base is no sub-model": (
        {"merge_method": "task_arithmetic", "base_model": "base", "parameters": {"lambda": 0.5, "weight": 0.4},
         "models": [{"model": "base"}, {"model": "a"}, {"model": "b", "parameters": {"weight": 0.2}}]},
        ("task_arithmetic", ["a", "b"], [0.4, 0.2], {"scale": 0.5})),
    "ties keeps all by default": (
        {"merge_method": "ties", "base_model": "base", "models": [{"model": "a"}, {"model": "b"}],
         "parameters": {"int8_mask": True}},
        ("ties", ["a", "b"], [1.0, 1.0], {"density": 1.0})),
    "slerp starts at the base": (
        {"merge_method": "slerp", "base_model": "base", "models": [{"model": "a"}, {"model": "base"}],
         "parameters": {"t": 0.25}},
        ("slerp", ["base", "a"], [1.0, 1.0], {"t": 0.25})),
    "sce's words": (
        {"merge_method": "sce", "base_model": "base", "models": [{"model": "a"}, {"model": "b"}, {"model": "c"}],
         "parameters": {"select_topk": 0.3}},
        ("sce", ["a", "b", "c"], [1.0, 1.0, 1.0], {"density": 0.3})),
    "out_dtype": ({"merge_method": "linear", "dtype": "float32", "out_dtype": "bfloat16", "models": [{"model": "a"}]},
                  ("linear", ["a"], [1.0], {})),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MERGEKIT))
def test_mergekit_s_words(models, name):
    content, (method, names, weights, given) = MERGEKIT[name]
    _, got = carry_out(models, content)
    assert agree(got, exact(models, method, names, weights, **given))
    if "out_dtype" in content:
        assert {tensor.dtype for tensor in got.values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("change", "message"),
    [({"merge_method": "arcee_fusion"}, "arcee_fusion"), ({"chat_template": "auto"}, "chat_template"),
     ({"parameters": {"filter_wise": True}}, "filter_wise"), ({"parameters": {"densty": 1}}, "densty"),
     ({"slices": [{"sources": []}]}, "either `models` or `slices`"), ({"unheard": 1}, "unheard"),
     ({"tokenizer_source": "elsewhere"}, "elsewhere")],
)  # fmt: skip
def test_what_we_do_not_support_is_refused_by_name(models, change, message):
    content = {
        "merge_method": "model_stock",
        "base_model": "base",
        "models": [{"model": "a"}, {"model": "b"}],
        **change,
    }
    with pytest.raises(DtmError, match=message):
        carry_out(models, content)
    assert not (models / "out").exists()


def test_layers_of_several_models_are_stacked(models):
    slices = [
        {"sources": [{"model": name, "layer_range": span}]} for name, span in (("a", [0, 2]), ("b", [1, 2]))
    ]
    content = {"merge_method": "passthrough", "dtype": "float32", "slices": slices}
    _, got = carry_out(models, content)
    a, b = read_model(models / "a"), read_model(models / "b")
    expected = {
        **a,
        **{name.replace("layers.1", "layers.2"): tensor for name, tensor in b.items() if "layers.1" in name},
    }
    expected |= {name: b[name] for name in ("model.norm.weight", "lm_head.weight", "model.scalar")}
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    assert json.loads((models / "out/config.json").read_text())["num_hidden_layers"] == 3


def test_slices_merge_too_with_depth_within_the_slice(models):
    content = {"merge_method": "slerp", "base_model": "a", "parameters": {"t": [0.0, 1.0]}, "slices": [
        {"sources": [{"model": "a", "layer_range": [0, 2]}, {"model": "b", "layer_range": [0, 2]}]}]}  # fmt: skip
    _, got = carry_out(models, content)
    a, b = read_model(models / "a"), read_model(models / "b")
    assert torch.equal(got["model.layers.0.mlp.up_proj.weight"], a["model.layers.0.mlp.up_proj.weight"])
    torch.testing.assert_close(
        got["model.layers.1.mlp.up_proj.weight"], b["model.layers.1.mlp.up_proj.weight"]
    )
    beyond = {
        **content,
        "slices": [
            {"sources": [{"model": "a", "layer_range": [0, 9]}, {"model": "b", "layer_range": [0, 9]}]}
        ],
    }
    with pytest.raises(DtmError, match="the model has 2 layers"):
        run(_file(models, beyond), models / "other")


def test_a_stacked_model_loads_and_computes_its_layers(tmp_path):
    """Layers 0-1 of one Llama and layer 1 of another, against the same layers put together in torch."""
    from transformers import AutoModelForCausalLM

    for seed, name in enumerate("ab"):
        tiny_model(tmp_path / name, seed=seed, tie=False)
    slices = [
        {"sources": [{"model": "a", "layer_range": [0, 2]}]},
        {"sources": [{"model": "b", "layer_range": [1, 2]}]},
    ]
    (tmp_path / "merge.yaml").write_text(yaml.safe_dump({"merge_method": "passthrough", "slices": slices}))
    run(tmp_path / "merge.yaml", tmp_path / "out")
    a, b, got = (AutoModelForCausalLM.from_pretrained(tmp_path / name).eval() for name in ("a", "b", "out"))
    assert len(got.model.layers) == 3
    third = b.model.layers[1]
    third.self_attn.layer_idx = 2
    a.model.layers.append(third)
    a.model.norm, a.lm_head, a.config.num_hidden_layers = b.model.norm, b.lm_head, 3
    if getattr(a.config, "layer_types", None):
        a.config.layer_types = [*a.config.layer_types, a.config.layer_types[-1]]
    ids = torch.arange(20).reshape(2, 10)
    with torch.no_grad():
        torch.testing.assert_close(got(ids, use_cache=False).logits, a(ids, use_cache=False).logits)


def test_slices_about_a_base_with_a_weight_a_slice(models):
    slices = [{"sources": [{"model": "base", "layer_range": [k, k + 1]}, {"model": "a", "layer_range": [k, k + 1]}],
               "parameters": {"weight": weight}} for k, weight in enumerate([0.25, 0.75])]  # fmt: skip
    _, got = carry_out(models, {"merge_method": "task_arithmetic", "base_model": "base", "slices": slices})
    base, a = read_model(models / "base"), read_model(models / "a")
    for layer, weight in enumerate([0.25, 0.75]):
        name = f"model.layers.{layer}.mlp.up_proj.weight"
        exact = base[name].double() + weight * (a[name].double() - base[name].double())
        assert within_one_rounding(got[name], exact, slack=1e-6)


def _file(folder, content):
    (folder / "other.yaml").write_text(yaml.safe_dump(content))
    return folder / "other.yaml"


def test_the_inspection_measures_updates_and_changes_no_byte(models):
    content = {"base": "base", "method": "task_arithmetic", "models": ["a", "b"], "weights": [1.0, 0.5]}
    facts, _ = carry_out(models, content, inspect=True)
    merge(
        {**content, "base": str(models / "base"), "models": [str(models / "a"), str(models / "b")]},
        models / "plain",
    )
    base, a, b = (read_model(models / name) for name in ("base", "a", "b"))
    names = sorted(base)
    one, other = (torch.cat([(m[n].double() - base[n].double()).flatten() for n in names]) for m in (a, b))
    merged = one + 0.5 * other
    overall = facts["inspection"]["overall"]
    assert overall["norms"] == pytest.approx([one.norm().item(), other.norm().item()], rel=1e-4)
    assert overall["cosines"][0][1] == pytest.approx(
        (one @ other / one.norm() / other.norm()).item(), abs=1e-4
    )
    assert overall["sign_conflict"] == pytest.approx((one * other < 0).double().mean().item(), abs=1e-3)
    parts = torch.stack([one @ merged, other @ merged])
    assert overall["shares"] == pytest.approx((parts / parts.sum()).tolist(), rel=1e-4)
    assert set(facts["inspection"]["layers"]) == {"0", "1", "outside"}
    seen, plain = bytes_of(models / "out"), bytes_of(models / "plain")
    assert json.loads(seen.pop("inspection.json")) == facts["inspection"]
    assert seen["model.safetensors"] == plain["model.safetensors"]


@pytest.mark.parametrize("inspect", [False, True])
def test_a_merge_that_was_killed_goes_on_after_its_last_whole_file(tmp_path, inspect):
    folders = []
    for k in range(2):
        torch.manual_seed(k)
        folders.append(
            write_model(
                tmp_path / f"m{k}", {f"layers.{n}.w": torch.randn(300, 300) for n in range(4)}, shards=4
            )
        )
    common = {"base": None, "models": folders, "method": registry("merge").bind("linear"), "weights": [1, 1],
              "inspect": inspect}  # fmt: skip
    merge_models(output=tmp_path / "whole", **common)
    (tmp_path / "out").mkdir()

    class Killed(BaseException):
        """As a signal: nothing gets to clean up."""

    def kill(done, total):
        if done > total / 2:
            raise Killed

    with pytest.raises(Killed):
        merge_models(output=tmp_path / "out", progress=kill, **common)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "config.json" not in names
    first = tmp_path / "out/model-00001-of-00004.safetensors"
    before, seen = first.stat().st_mtime_ns, []
    merge_models(output=tmp_path / "out", progress=lambda done, total: seen.append(done), **common)
    assert first.stat().st_mtime_ns == before
    assert max(seen) <= 2 * 300 * 300
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_a_merge_that_was_killed_unmeasured_is_measured_from_the_start(tmp_path):
    folders = []
    for k in range(2):
        torch.manual_seed(k)
        folders.append(
            write_model(
                tmp_path / f"m{k}", {f"layers.{n}.w": torch.randn(30, 30) for n in range(2)}, shards=2
            )
        )
    common = {"base": None, "models": folders, "method": registry("merge").bind("linear"), "weights": [1, 1]}
    merge_models(output=tmp_path / "whole", inspect=True, **common)
    (tmp_path / "out").mkdir()

    class Killed(BaseException):
        """As a signal: nothing gets to clean up."""

    def kill(done, total):
        if done > total / 2:
            raise Killed

    with pytest.raises(Killed):
        merge_models(output=tmp_path / "out", progress=kill, **common)
    assert (tmp_path / "out/model-00001-of-00002.safetensors").exists()
    merge_models(output=tmp_path / "out", inspect=True, **common)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_another_plan_does_not_take_over_what_a_killed_merge_left(tmp_path):
    folders = [write_model(tmp_path / f"m{k}", {"a": torch.full((5,), float(k))}, num=1) for k in range(2)]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.merge-journal.json").write_text(json.dumps("another plan"))
    (tmp_path / "out/model.safetensors").write_bytes(bytes(84))
    merge_models(
        base=None,
        models=folders,
        output=tmp_path / "out",
        method=registry("merge").bind("linear"),
        weights=[1, 3],
    )
    assert torch.equal(read_model(tmp_path / "out")["a"], torch.full((5,), 0.75))
    assert not (tmp_path / "out/.merge-journal.json").exists()


def test_planning_reads_no_weights(tmp_path, tensors):
    folder = write_model(tmp_path / "m", {"a": torch.zeros(1000)})
    path = folder / "model.safetensors"
    header = path.read_bytes()[:-4000]
    with open(path, "wb") as file:  # the header, and a hole where the weights were
        file.write(header)
        file.truncate(len(header) + 4000)
    plan = plan_merge(base=None, models=[folder], method=registry("merge").bind("linear"), weights=[1])
    assert plan.bytes_in == 4000


def test_the_inputs_sha256_are_told_and_remembered(models, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    content = {"base": "base", "method": "task_arithmetic", "models": ["a", "b"]}
    facts, _ = carry_out(models, content, hash_inputs=True)
    files = {"base": "base", "sub-model 0": "a", "sub-model 1": "b"}
    raw = {what: (models / name / "model.safetensors").read_bytes() for what, name in files.items()}
    expected = {f"{what}: model.safetensors": hashlib.sha256(one).hexdigest() for what, one in raw.items()}
    assert facts["inputs"] == expected
    card = (models / "out/README.md").read_text()
    assert all(f"| {name} | `{value}` |" in card for name, value in expected.items())

    import dtm.foundations.digests as digests

    monkeypatch.setattr(
        digests, "sha256", None
    )  # what is known by path, size, time and inode is not read again
    shutil.rmtree(models / "out")
    again, _ = carry_out(models, content, hash_inputs=True)
    assert again["inputs"] == expected
    shutil.rmtree(models / "out")
    plain, _ = carry_out(models, content)
    assert "inputs" not in plain


def test_no_place_for_a_cache_is_no_error(models, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    facts, _ = carry_out(models, {"method": "linear", "models": ["a"]}, hash_inputs=True)
    assert len(facts["inputs"]["sub-model 0: model.safetensors"]) == 64
