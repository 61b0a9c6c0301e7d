"""Sub-models with other tokenizers: which row of each one's embedding holds each token of the output's.

The vocabulary is read from `tokenizer.json`; only texts of tokens are compared. A token that a sub-model lacks takes
the base's row there, or where the base lacks it too, the mean of the rows of those that have it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtm.foundations.errors import ModelError
from dtm.foundations.files import write_json
from dtm.merge.checkpoint import Checkpoint, read_object
from dtm.merge.inputs import Inputs
from dtm.merge.matching import HEAD, embedding_name

FILE = "tokenizer.json"
ABSENT = -1


@dataclass(frozen=True)
class Vocabulary:
    """The output's tokens, and where each model has them."""

    folder: Path  # whose tokenizer files the output takes
    added: list[dict[str, Any]]  # entries of `added_tokens` that the union puts behind
    count: int  # rows of the output's embeddings
    base_rows: NDArray[np.int64] | None  # [count]: row in the base, or ABSENT
    rows_K: list[NDArray[np.int64] | None]  # one a sub-model; None for an adapter, which follows the base

    def write(self, folder: Path) -> None:
        """Add the union's tokens to the tokenizer that was copied into `folder`."""
        if self.added:
            content = read_object(folder / FILE)
            content["added_tokens"] = [*content.get("added_tokens", []), *self.added]
            write_json(folder / FILE, content)


def tokens_of(folder: Path) -> dict[str, int] | None:
    """Every token's id, or None without a `tokenizer.json`."""
    content = read_object(folder / FILE)
    vocabulary = (content.get("model") or {}).get("vocab")
    if vocabulary is None:
        return None
    pairs = (
        vocabulary.items()
        if isinstance(vocabulary, dict)
        else ((one[0], i) for i, one in enumerate(vocabulary))
    )
    added = {one["content"]: one["id"] for one in content.get("added_tokens") or []}
    return {**dict(pairs), **added}


def plan_vocabulary(inputs: Inputs, choice: str | int | None) -> Vocabulary | None:
    """How embeddings are to be brought together; None where all have the output's tokenizer.

    Raises ModelError where tokenizers differ and the user has not said which to take.
    """
    dense = [model.checkpoint for model in inputs.models]
    checkpoints = [one for one in (inputs.base, *dense) if one is not None]
    found = {one.folder: tokens_of(one.folder) for one in checkpoints}
    if choice is None or choice == "base" or choice == "union":
        chosen = inputs.reference
    else:
        chosen = dense[int(choice)] or inputs.reference
    known = {folder: tokens for folder, tokens in found.items() if tokens is not None}
    if len(known) < 2 or all(tokens == found[chosen.folder] for tokens in known.values()):
        return None
    if choice is None:
        other = next(folder for folder, tokens in known.items() if tokens != found[chosen.folder])
        raise ModelError(f"has another tokenizer than {chosen.folder.name}", where=other,
                         mend="Say `tokenizer: base`, `union`, or one of the models")  # fmt: skip
    return _vocabulary(inputs, chosen, dense, found, choice == "union")


def _vocabulary(
    inputs: Inputs,
    chosen: Checkpoint,
    dense: Sequence[Checkpoint | None],
    found: dict[Path, dict[str, int] | None],
    union: bool,
) -> Vocabulary:
    if missing := [folder for folder, tokens in found.items() if tokens is None]:
        raise ModelError(
            f"has no {FILE}, so its embedding cannot be brought to another tokenizer", where=missing[0]
        )
    tokens = dict(found[chosen.folder] or {})
    added: list[dict[str, Any]] = []
    if union:
        for checkpoint in (one for one in dense if one is not None):
            own = found[checkpoint.folder] or {}
            for token in sorted(own.keys() - tokens.keys(), key=lambda token: own[token]):
                tokens[token] = max(tokens.values()) + 1
                added.append(_entry(checkpoint.folder, token, tokens[token]))
    count = max(_rows(chosen), max(tokens.values()) + 1)

    def rows_in(checkpoint: Checkpoint | None) -> NDArray[np.int64] | None:
        if checkpoint is None:
            return None
        own, height = found[checkpoint.folder] or {}, _rows(checkpoint)
        rows = np.full(count, ABSENT, np.int64)
        if checkpoint.folder == chosen.folder:
            rows[:height] = np.arange(height)  # rows that pad the embedding stay what they are
        for token, place in tokens.items():
            if own.get(token, height) < height:
                rows[place] = own[token]
        return rows

    return Vocabulary(chosen.folder, added, count, rows_in(inputs.base), [rows_in(one) for one in dense])


def _rows(checkpoint: Checkpoint) -> int:
    name = embedding_name(checkpoint)
    if name is None:
        raise ModelError("has no tensor that we know for its input embedding", where=checkpoint.folder)
    return checkpoint.tensors[name].shape[0]


def _entry(folder: Path, token: str, place: int) -> dict[str, Any]:
    """The token's entry in its own tokenizer's `added_tokens`, or a plain one, under its new id."""
    own = read_object(folder / FILE).get("added_tokens") or []
    plain = {"content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": False}  # fmt: skip
    entry = next((json.loads(json.dumps(one)) for one in own if one["content"] == token), plain)
    return {**entry, "id": place}


def is_vocabulary(name: str, checkpoint: Checkpoint) -> bool:
    """Whether the tensor has one row a token."""
    return name in (HEAD, embedding_name(checkpoint))
