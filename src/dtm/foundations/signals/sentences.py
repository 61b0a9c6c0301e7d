"""Sentence embeddings of a neural model, by the package sentence-transformers (extra `embed`).

Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084. Texts beyond the model's own maximal length
are cut there, as the package does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dtm.foundations.errors import ConfigError, MissingInput
from dtm.foundations.registry import registry
from dtm.foundations.settings import Count
from dtm.foundations.signals import base
from dtm.foundations.signals.model_folders import folder_of, model_files
from dtm.foundations.signals.text import at, texts, texts_at
from dtm.foundations.types import Examples

BLOCK = 10_000  # rows whose texts are held while lengths are counted


@registry("embedder").register(
    "sentence_transformers", paper="arXiv:1908.10084", version=2, package="sentence_transformers", find=folder_of,
    files=model_files, job="dtm.foundations.signals.sentences:features",
)  # fmt: skip
def sentence_transformers(
    texts_N: Sequence[str],
    threads: int,
    progress: Callable[[int, int], None] | None,
    *,
    model: str = "sentence-transformers/all-MiniLM-L6-v2",
    batch_size: Count = 64,
    device: str | None = None,
) -> np.ndarray:
    """The model's embeddings, float32 [N, F]; `model` is a hub id or a folder with safetensors.

    Rows go longest first, so that a batch pads little and a lack of memory shows at once. A run does the same
    in a worker, by `features`.

    Raises MissingInput when the model is not there.
    """
    if batch_size < 1:
        raise ConfigError(
            f"batch_size is {batch_size}, and must be 1 or more", where="disperse.embedder.batch_size"
        )
    with _threads(threads):
        encoder = _load(model, device)
        features_NF = np.zeros((len(texts_N), encoder.get_sentence_embedding_dimension()), np.float32)
        done = 0
        for rows in _batches([len(text) for text in texts_N], batch_size):
            ascending = np.sort(rows)
            said = dict(zip(ascending.tolist(), at(texts_N, ascending), strict=True))
            features_NF[rows] = _encode(encoder, [said[row] for row in rows])
            done += len(rows)
            if progress:
                progress(done, len(texts_N))
    return features_NF


def features(job: base.Job, progress: base.Progress) -> dict[str, Any]:
    """Write `features.npy`: the model's embeddings of the rows, float32 [N, F], as `sentence_transformers` gives them.

    A job holds model (a folder), examples (an Arrow file), on, batch_size, device, threads, output and scratch. A
    killed one is taken up where it stood. Returns {rows, dimensions}.
    """
    examples = Examples.open(Path(job["examples"]))
    lengths = [len(text) for block in _blocks(examples) for text in texts(block, job["on"])]
    with _threads(job["threads"]):
        encoder = _load(job["model"], job["device"])
        width = encoder.get_sentence_embedding_dimension()

        def work(rows: Sequence[int]) -> dict[str, np.ndarray]:
            ascending = np.sort(rows)
            said = dict(zip(ascending.tolist(), texts_at(examples, ascending, job["on"]), strict=True))
            return {"features": _encode(encoder, [said[row] for row in rows])}

        arrays = {"features": ((len(examples), width), np.float32)}
        base.fill(job, arrays, list(_batches(lengths, job["batch_size"])), work, progress)
    return {"rows": len(examples), "dimensions": width}


def _blocks(examples: Examples) -> Iterator[Examples]:
    for start in range(0, len(examples), BLOCK):
        yield Examples(examples.table.slice(start, BLOCK))


def _batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Rows by length in characters, longest first, `size` at a time."""
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size].tolist()


def _encode(encoder: Any, batch: list[str]) -> np.ndarray:
    return encoder.encode(batch, batch_size=len(batch), show_progress_bar=False, convert_to_numpy=True)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads of torch, and then as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _load(model: str, device: str | None) -> Any:
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(
            model, device=device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (OSError, ValueError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingInput(
            f"cannot load the embedding model {model!r}: {first}",
            where="disperse.embedder.model",
            mend="Give a hub id or a folder with safetensors, or use `embedder: tfidf`",
        ) from error
