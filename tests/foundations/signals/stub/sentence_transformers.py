"""On the path in place of the package: a model whose vectors are counts of letters, and which logs what it is given."""

import os
from pathlib import Path

import numpy as np

LETTERS = "abcdefgh"


class SentenceTransformer:
    def __init__(self, model, device=None, trust_remote_code=False, model_kwargs=None) -> None:
        self.folder = Path(model)

    def get_sentence_embedding_dimension(self) -> int:
        return len(LETTERS)

    def encode(self, texts, batch_size, show_progress_bar, convert_to_numpy):
        with open(os.environ.get("ENCODED", os.devnull), "a") as log:
            log.write(f"{len(texts)}\n")
        return np.array([[text.count(letter) for letter in LETTERS] for text in texts], np.float32)
