"""Sentence embeddings of a neural model, by the package sentence-transformers (extra `embed`).

Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084. Texts beyond the model's own maximal length
are cut there, as the package does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dtm.foundations.errors import ConfigError, MissingInput
from dtm.foundations.registry import registry
from dtm.foundations.settings import Count
from dtm.foundations.signals.text import at


@registry("embedder").register(
    "sentence_transformers", paper="arXiv:1908.10084", version=2, package="sentence_transformers"
)
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

    Rows go longest first, so that a batch pads little and a lack of memory shows at once.

    Raises MissingInput when the model is not there.
    """
    import torch

    if batch_size < 1:
        raise ConfigError(
            f"batch_size is {batch_size}, and must be 1 or more", where="disperse.embedder.batch_size"
        )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        encoder = _load(model, device)
        order = np.argsort([-len(text) for text in texts_N], kind="stable")
        features_NF = np.zeros((len(texts_N), encoder.get_sentence_embedding_dimension()), np.float32)
        for start in range(0, len(order), batch_size):
            rows = np.sort(order[start : start + batch_size])
            features_NF[rows] = encoder.encode(
                at(texts_N, rows),
                batch_size=batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
            if progress:
                progress(min(start + batch_size, len(order)), len(order))
    finally:
        torch.set_num_threads(before)
    return features_NF


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
