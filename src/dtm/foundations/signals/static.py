"""Static embeddings: each token has one vector, and a text is the mean of its tokens' vectors. No network runs.

Tulkens and van Dongen 2024, "Model2Vec" (weights by token frequency; a table of tokens that share a row); Miller
2024, "WordLlama", whose package carries the default model (16 MB, 256 dimensions, MIT): token vectors of a language
model, trained to be averaged. Read here from safetensors and tokenizer.json, so that neither package is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dtm.foundations.errors import ModelError
from dtm.foundations.registry import registry
from dtm.foundations.signals.model_folders import folder_of, package_folder

WORDLLAMA = "wordllama"
TABLES = ("embeddings", "embedding.weight")  # what Model2Vec and WordLlama call the table of vectors
BLOCK = 2000  # texts that are tokens at a time


def find(model: str, root: Path, where: object) -> Path:
    """The folder of the model, or of the package that carries it. Raises MissingInput or ModelError."""
    folder = package_folder(WORDLLAMA, where) if model == WORDLLAMA else folder_of(model, root, where)
    _table(files(folder, where)[0], where)
    return folder


def files(folder: Path, where: object = None) -> list[Path]:
    """The two files of a model: its vectors and its tokenizer.

    They lie side by side, or as WordLlama's package has them. Raises ModelError where they are not there, or several.
    """
    for weights, tokenizer in (
        ("model.safetensors", "tokenizer.json"),
        ("0_StaticEmbedding/model.safetensors", "0_StaticEmbedding/tokenizer.json"),
        ("weights/*.safetensors", "tokenizers/*.json"),
    ):
        found = [sorted(folder.glob(pattern)) for pattern in (weights, tokenizer)]
        if all(len(one) == 1 for one in found):
            return [found[0][0], found[1][0]]
    raise ModelError(f"{folder} is no static model: it needs model.safetensors beside tokenizer.json", where=where,
                     mend="Give a Model2Vec folder, or leave `model` out for WordLlama")  # fmt: skip


@registry("embedder").register("static", find=find, files=files)
def static(
    texts_N: list[str],
    threads: int,
    progress: Callable[[int, int], None] | None,
    *,
    model: str = WORDLLAMA,
) -> np.ndarray:
    """The mean of each text's token vectors, float32 [N, F]; `model` is a Model2Vec folder or hub id, or wordllama.

    Tokens count as often as they stand there, unknown ones not at all; a text without any is zero. Texts are read to
    their end.

    Raises MissingInput or ModelError when the model is not there or is none.
    """
    tokenizer, vectors_VF, row_T, weight_T = _open(find(model, Path(), "disperse.embedder.model"))
    features_NF = np.zeros((len(texts_N), vectors_VF.shape[1]), np.float32)
    for start in range(0, len(texts_N), BLOCK):
        block = texts_N[start : start + BLOCK]
        features_NF[start : start + len(block)] = _means(tokenizer, block, vectors_VF, row_T, weight_T)
        if progress:
            progress(start + len(block), len(texts_N))
    return features_NF


def _means(
    tokenizer: Any, texts_B: list[str], vectors_VF: np.ndarray, row_T: np.ndarray, weight_T: np.ndarray
) -> np.ndarray:
    """The mean vector of each text, float32 [B, F]: a sparse matrix of token weights, times the vectors."""
    from scipy.sparse import csr_matrix

    encoded = tokenizer.encode_batch_fast(texts_B, add_special_tokens=False)
    tokens = [np.asarray(one.ids, np.int64) for one in encoded]
    tokens = [ids[row_T[ids] >= 0] for ids in tokens]
    counts_B = np.array([len(ids) for ids in tokens])
    every = np.concatenate(tokens)
    ends_B = np.concatenate([[0], np.cumsum(counts_B)])
    weights_BV = csr_matrix((weight_T[every], row_T[every], ends_B), (len(texts_B), len(vectors_VF)))
    return (weights_BV @ vectors_VF) / np.maximum(counts_B, 1).astype(np.float32)[:, None]


def _table(weights: Path, where: object = None) -> str:
    """The name of the table of vectors, from the file's header. Raises ModelError where there is none."""
    from safetensors import safe_open

    with safe_open(weights, framework="np") as file:
        name = next((name for name in TABLES if name in file.keys()), None)  # noqa: SIM118 - not a mapping
        if name is None or len(file.get_slice(name).get_shape()) != 2:
            raise ModelError(f"{weights} holds no table of vectors named {' or '.join(TABLES)}", where=where,
                             mend="Give a Model2Vec folder, or leave `model` out for WordLlama")  # fmt: skip
    return name


def _open(folder: Path) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """The tokenizer, the vectors [V, F], and of each token its row of these, or -1, and its weight."""
    from safetensors import safe_open
    from tokenizers import Tokenizer

    weights, tokenizer_file = files(folder)
    with safe_open(weights, framework="np") as file:
        there = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    table = there[_table(weights)]
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    size = max(tokenizer.get_vocab_size(), max(tokenizer.get_vocab().values(), default=-1) + 1)
    row_T = there.get("mapping", np.arange(size)).astype(np.int64)
    weight_T = there.get("weights", np.ones(size)).astype(np.float32)
    if len(row_T) < size or len(weight_T) < size or row_T.max(initial=-1) >= len(table):
        raise ModelError(f"{weights} has vectors for {len(table)} tokens, and {tokenizer_file} has {size}")
    if (unknown := _unknown(tokenizer_file)) is not None:
        row_T[unknown] = -1
    return tokenizer, table.astype(np.float32), row_T, weight_T


def _unknown(tokenizer_file: Path) -> int | None:
    """The token that stands for what the tokenizer does not know: of words unseen it would say that they are alike."""
    from dtm.foundations.files import read_json

    model = read_json(tokenizer_file)["model"]
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    vocabulary = model.get("vocab")
    return vocabulary.get(model.get("unk_token")) if isinstance(vocabulary, dict) else None
