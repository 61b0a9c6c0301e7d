"""Against the package itself, on a random BERT of 4,000 weights built here."""

import numpy as np
import pytest

from dtm.foundations.errors import ConfigError, MissingInput
from dtm.foundations.signals import embed
from dtm.foundations.signals.sentences import sentence_transformers
from dtm.foundations.signals.text import texts

pytest.importorskip("sentence_transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ant", "bee", "cow", "dog", "eel"]
TEXTS = ["ant", "bee cow dog eel ant", "", "cow ant", "dog dog dog", "eel bee"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel, BertTokenizer

    place = tmp_path_factory.mktemp("bert")
    (place / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=16)  # fmt: skip
    BertModel(config).eval().save_pretrained(place / "bert")
    BertTokenizer(str(place / "vocab.txt")).save_pretrained(place / "bert")
    SentenceTransformer(str(place / "bert"), device="cpu").save(str(place / "model"))
    return str(place / "model")


def test_rows_keep_their_order_whatever_the_batches(folder):
    from sentence_transformers import SentenceTransformer

    told = []
    ours = sentence_transformers(
        TEXTS, 1, lambda *pair: told.append(pair), model=folder, batch_size=2, device="cpu"
    )
    peer = SentenceTransformer(folder, device="cpu")
    expected = np.stack([peer.encode(text) for text in TEXTS])
    assert ours == pytest.approx(expected, abs=1e-5)
    assert told == [(2, 6), (4, 6), (6, 6)]


def test_embed_scales_reduces_and_blanks(folder, talk):
    embedder = {"name": "sentence_transformers", "model": folder, "device": "cpu"}
    ours = embed(talk(*TEXTS), embedder=embedder, dimensions=4, seed=0)
    assert ours.shape == (6, 4)
    assert np.linalg.norm(ours, axis=1) == pytest.approx([1, 1, 0, 1, 1, 1], abs=1e-6)
    assert texts(talk(*TEXTS), "instruction") == TEXTS


def test_the_callers_threads_are_given_back(folder):
    import torch

    before = torch.get_num_threads()
    sentence_transformers(["ant"], before + 1, None, model=folder, device="cpu")
    assert torch.get_num_threads() == before


def test_a_model_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingInput, match="nowhere"):
        sentence_transformers(["ant"], 1, None, model=str(tmp_path / "nowhere"), device="cpu")


def test_an_empty_batch_is_refused():
    with pytest.raises(ConfigError, match="batch_size"):
        sentence_transformers(["ant"], 1, None, batch_size=0)
