"""Mean token vectors by a plain loop, on a model of seven tokens, and by the packages that have such models."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dtm.foundations.errors import MissingInput, ModelError
from dtm.foundations.signals import check_embedder, embed, static, with_model

WORDS = ["[UNK]", "ant", "bee", "cow", "dog", "eel", "fox"]
VECTORS = np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype(np.float16)
TEXTS = ["ant bee", "cow", "", "ant zebra ant", "zebra", "dog eel fox dog", "bee " * 700]


def save_model(folder, **tensors):
    """A static model with a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(3)  # which a reader of whole texts takes off
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(tensors or {"embeddings": VECTORS}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"normalize": False}))
    return folder


def expected(vectors, weights=None):
    """The plain loop, in fp64."""
    rows = []
    for text in TEXTS:
        tokens = [WORDS.index(word) for word in text.split() if word in WORDS]
        each = [
            vectors[token].astype(np.float64) * (1 if weights is None else weights[token]) for token in tokens
        ]
        rows.append(np.mean(each, axis=0) if each else np.zeros(vectors.shape[1]))
    return np.array(rows)


def test_a_text_is_the_mean_of_its_known_tokens(tmp_path, monkeypatch):
    monkeypatch.setattr(static, "BLOCK", 3)
    told = []
    found = static.static(TEXTS, 1, lambda *pair: told.append(pair), model=str(save_model(tmp_path / "m")))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(VECTORS), atol=1e-5)
    assert told == [(3, 7), (6, 7), (7, 7)]


def test_tokens_may_have_weights_and_share_rows(tmp_path):
    weights = np.arange(1, 8) / 4
    mapping = np.array([0, 1, 1, 2, 2, 0, 1])
    folder = save_model(tmp_path / "m", embeddings=VECTORS[:3], weights=weights, mapping=mapping)
    found = static.static(TEXTS, 1, None, model=str(folder))
    np.testing.assert_allclose(found, expected(VECTORS[mapping], weights), atol=1e-5)


def test_embed_gives_unit_rows_and_zeros_for_what_is_unknown(tmp_path, talk):
    found = embed(
        talk(*TEXTS),
        embedder={"name": "static", "model": str(save_model(tmp_path / "m"))},
        dimensions=5,
        seed=0,
    )
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1, 0, 1, 0, 1, 1])


def test_no_texts_give_no_rows(tmp_path):
    assert static.static([], 1, None, model=str(save_model(tmp_path / "m"))).shape == (0, 5)


def test_what_is_no_static_model_is_told_before_work(tmp_path, monkeypatch):
    def find(model):
        return with_model(check_embedder({"name": "static", "model": model}), tmp_path, where="run.yaml:3")

    assert find(save_model(tmp_path / "m").name).settings["model"] == str(tmp_path / "m")
    with pytest.raises(MissingInput, match=r"run.yaml:3: there is no embedding model at './none'"):
        find("./none")
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").touch()
    with pytest.raises(ModelError, match="holds no safetensors"):
        find("pickled")
    (tmp_path / "m" / "tokenizer.json").unlink()
    with pytest.raises(
        ModelError, match=r"no static model: it needs model.safetensors beside tokenizer.json"
    ):
        find("m")
    monkeypatch.setattr("dtm.foundations.signals.model_folders.find_spec", lambda name: None)
    with pytest.raises(MissingInput, match=r"comes with the package wordllama.*disperse-then-merge\[embed\]"):
        find("wordllama")


@pytest.mark.parametrize("tensors", [
    {"embeddings": VECTORS[:6]},
    {"vectors": VECTORS},
    {"embeddings": VECTORS[:2], "mapping": np.full(7, 2)},
    {"embeddings": VECTORS, "weights": np.ones(3)},
], ids=["too few vectors", "another name", "a row that is not there", "too few weights"])  # fmt: skip
def test_tensors_that_do_not_fit_the_tokenizer_are_refused(tmp_path, tensors):
    with pytest.raises(ModelError):
        static.static(["ant"], 1, None, model=str(save_model(tmp_path / "m", **tensors)))


@pytest.mark.parametrize("more", [{}, {"weights": np.arange(1, 8) / 4, "mapping": np.arange(7)}])
def test_as_model2vec_reads_the_same_folder(tmp_path, more):
    model2vec = pytest.importorskip("model2vec", reason="the peer, model2vec, is not installed")
    folder = save_model(tmp_path / "m", embeddings=VECTORS.astype(np.float32), **more)
    peer = model2vec.StaticModel.from_pretrained(folder, normalize=False, max_length=None)
    found = static.static(TEXTS, 1, None, model=str(folder))
    np.testing.assert_allclose(found, peer.encode(TEXTS), atol=1e-5)


def test_as_wordllama_embeds_with_the_vectors_that_it_carries():
    inference = pytest.importorskip("wordllama.inference", reason="the peer, wordllama, is not installed")
    from tokenizers import Tokenizer

    weights, tokenizer = static.files(static.find("wordllama", None, None))
    peer = inference.WordLlamaInference(
        load_file(weights)["embedding.weight"], Tokenizer.from_file(str(tokenizer))
    )
    texts = ["数学 hello world", "", "the quick brown fox " * 30, "Add 3 and 4.\n\nfür 你\x01"]
    np.testing.assert_allclose(static.static(texts, 1, None), peer.embed(texts), atol=1e-6)
