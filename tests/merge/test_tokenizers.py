"""Embeddings brought to one vocabulary, token by token."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import yaml

from dtm.foundations.errors import DtmError, ModelError
from dtm.merge.command import run
from tests.merge.models import read_model, within_one_rounding, write_model

TOKENS = {"base": ["a", "b", "c"], "one": ["b", "a", "c", "<x>"], "two": ["a", "b", "c", "<y>", "<x>"]}
EMBED, HEAD, OTHER = "model.embed_tokens.weight", "lm_head.weight", "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def folders(tmp_path):
    """Three models whose row of each token is known; base and `one` have a padding row behind."""
    for k, (name, tokens) in enumerate(TOKENS.items()):
        generator = torch.Generator().manual_seed(k)
        rows = len(tokens) + (name != "two")
        tensors = {EMBED: torch.randn(rows, 6, generator=generator), HEAD: torch.randn(rows, 6, generator=generator),
                   OTHER: torch.randn(4, 6, generator=generator)}  # fmt: skip
        write_model(tmp_path / name, tensors, vocab_size=rows)
        plain = {token: place for place, token in enumerate(tokens) if not token.startswith("<")}
        added = [
            {"id": place, "content": token, "special": True}
            for place, token in enumerate(tokens)
            if token.startswith("<")
        ]
        content = {"model": {"type": "BPE", "vocab": plain, "merges": []}, "added_tokens": added}
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(content))
    return tmp_path


def merged(folder, **content):
    (folder / "merge.yaml").write_text(
        yaml.safe_dump({"method": "linear", "base": "base", "models": ["one", "two"], **content})
    )
    run(folder / "merge.yaml", folder / "out")
    return read_model(folder / "out")


def row(folder, model, token, name=EMBED):
    return read_model(folder / model)[name][TOKENS[model].index(token)].double()


def test_models_with_other_tokens_need_a_word_about_them(folders):
    with pytest.raises(ModelError, match="another tokenizer"):
        merged(folders)
    with pytest.raises(DtmError, match="Say base, union"):
        merged(folders, tokenizer="three")


@pytest.mark.parametrize("name", [EMBED, HEAD])
def test_the_base_s_tokens(folders, name):
    got = merged(folders, tokenizer="base")[name]
    assert got.shape == (4, 6)
    for place, token in enumerate(TOKENS["base"]):
        exact = (row(folders, "one", token, name) + row(folders, "two", token, name)) / 2
        assert within_one_rounding(got[place], exact)
    assert torch.equal(
        got[3], read_model(folders / "base")[name][3]
    )  # padding that nobody has another value for


def test_the_union_of_all_tokens(folders):
    got = merged(folders, tokenizer="union")
    assert got[EMBED].shape == (5, 6)
    for place, token in enumerate(TOKENS["base"]):
        assert within_one_rounding(
            got[EMBED][place], (row(folders, "one", token) + row(folders, "two", token)) / 2
        )
    assert within_one_rounding(got[EMBED][3], (row(folders, "one", "<x>") + row(folders, "two", "<x>")) / 2)
    assert torch.equal(got[EMBED][4], row(folders, "two", "<y>").float())  # only one model has it
    content = json.loads((folders / "out/tokenizer.json").read_text())
    assert [(one["id"], one["content"], one["special"]) for one in content["added_tokens"]] == [
        (3, "<x>", True),
        (4, "<y>", True),
    ]
    assert json.loads((folders / "out/config.json").read_text())["vocab_size"] == 5


def test_the_tokens_of_one_model_and_updates_about_the_base(folders):
    got = merged(folders, tokenizer="two", method="task_arithmetic", weights=[1.0, 1.0])
    base, other = read_model(folders / "base"), read_model(folders / "one")
    for place, token in enumerate(TOKENS["two"][:3]):
        exact = row(folders, "one", token) + row(folders, "two", token) - row(folders, "base", token)
        assert within_one_rounding(got[EMBED][place], exact, slack=1e-6)
    # The base lacks both; it is taken to have the mean of those that have them, and so is `one` for <y>.
    assert within_one_rounding(got[EMBED][3], row(folders, "two", "<y>"), slack=1e-6)
    both = (row(folders, "one", "<x>") + row(folders, "two", "<x>")) / 2
    assert within_one_rounding(got[EMBED][4], both, slack=1e-6)
    exact = other[OTHER].double() + read_model(folders / "two")[OTHER].double() - base[OTHER].double()
    assert within_one_rounding(got[OTHER], exact, slack=1e-6)
    assert (folders / "out/tokenizer.json").read_text() == (folders / "two/tokenizer.json").read_text()


@pytest.mark.parametrize(
    ("source", "like"), [("union", "union"), ("base", "base"), ("two", "two"), ("model:two", "two")]
)
def test_mergekit_s_tokenizer_source(folders, source, like):
    expected = merged(folders, tokenizer=like)
    tokens = (folders / "out/tokenizer.json").read_text()
    shutil.rmtree(folders / "out")
    content = {"merge_method": "linear", "base_model": "base", "tokenizer_source": source,
               "models": [{"model": "one"}, {"model": "two"}]}  # fmt: skip
    (folders / "merge.yaml").write_text(yaml.safe_dump(content))
    run(folders / "merge.yaml", folders / "out")
    got = read_model(folders / "out")
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())
    assert (folders / "out/tokenizer.json").read_text() == tokens
