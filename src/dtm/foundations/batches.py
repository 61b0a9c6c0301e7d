"""Rendered rows in padded batches of like length, which all that runs a model over rows shares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dtm.foundations.errors import DataError
from dtm.foundations.types import Examples


@dataclass(frozen=True)
class Batch:
    """Tensors [N, T] on one device: tokens int64, which are no padding int64, which carry loss bool."""

    ids_NT: Any
    seen_NT: Any
    said_NT: Any

    @property
    def inputs(self) -> dict[str, Any]:
        """What a model's `forward` takes."""
        return {"input_ids": self.ids_NT, "attention_mask": self.seen_NT, "use_cache": False}

    @property
    def told_NT(self) -> Any:
        """Which tokens are predicted and carry loss, bool [N, T - 1]: a row's first is never predicted."""
        return self.said_NT[:, 1:]


def batches(lengths_N: Any, batch_tokens: int) -> Iterator[list[int]]:
    """Indices of the rows, longest first; a padded batch has at most `batch_tokens` positions or one row."""
    order = sorted(range(len(lengths_N)), key=lambda index: (-int(lengths_N[index]), index))
    start = 0
    while start < len(order):
        count = max(1, batch_tokens // max(1, int(lengths_N[order[start]])))
        yield order[start : start + count]
        start += count


def padded(examples: Examples, device: Any) -> Batch:
    """All the rows as one batch, padded on the right."""
    import torch

    rows = list(examples.rows())
    longest = max(len(row["input_ids"]) for row in rows)
    ids_NT = torch.zeros(len(rows), longest, dtype=torch.long)
    seen_NT = torch.zeros(len(rows), longest, dtype=torch.long)
    said_NT = torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        length = len(row["input_ids"])
        ids_NT[number, :length] = torch.tensor(row["input_ids"], dtype=torch.long)
        seen_NT[number, :length] = 1
        said_NT[number, :length] = torch.tensor(row["assistant_mask"], dtype=torch.bool)
    return Batch(ids_NT.to(device), seen_NT.to(device), said_NT.to(device))


def check_lengths(lengths_N: Any, model: Any, where: object) -> None:
    """Raise DataError where a row is longer than the model has positions."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and int(lengths_N.max()) > limit:
        raise DataError(
            f"a row has {int(lengths_N.max())} tokens, and the model's positions end at {limit}",
            where=where,
            mend="Set train.args.max_length to what the model can read",
        )
