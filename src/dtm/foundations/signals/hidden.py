"""The base's own view of a row: the mean of its last hidden states over the instruction, the response, or both.

Centring: Mu and Viswanath 2018, "All-but-the-Top", arXiv:1702.01417 - hidden states share one large direction,
beside which all cosines are near 1; their mean is taken off. The other directions stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtm.foundations.batches import batches, padded
from dtm.foundations.blocks import blocks
from dtm.foundations.registry import registry
from dtm.foundations.signals.base import BATCH_TOKENS, Job, Progress, fill, open_base, open_rows
from dtm.foundations.signals.text import BATCH


@registry("embedder").register("base", paper="arXiv:1702.01417", version=2, needs=("hidden",))
def base(
    texts_N: Sequence[str],
    threads: int,
    progress: Callable[[int, int], None] | None,
    *,
    hidden: np.ndarray,
    centre: bool = True,
) -> Centred:
    """The base's mean last hidden state of each row, float32 [N, H], less the mean over the rows (`centre`).

    Rows of zeros, which had no token to look at, stay zeros and do not count. `hidden` may be memory-mapped.
    """
    sum_H, there = np.zeros(hidden.shape[1]), 0
    for rows in blocks(len(hidden), BATCH) if centre else ():
        block_BH = np.asarray(hidden[rows], np.float64)
        sum_H += block_BH.sum(axis=0)
        there += int(block_BH.any(axis=1).sum())
    return Centred(hidden, (sum_H / max(there, 1)).astype(np.float32))


@dataclass(frozen=True)
class Centred:
    """States [N, H] less their mean, made where they are read; rows of zeros stay zeros."""

    states_NH: np.ndarray
    mean_H: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.states_NH.shape[0], self.states_NH.shape[1]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        states_BH = np.array(self.states_NH[rows], np.float32)
        states_BH[states_BH.any(axis=1)] -= self.mean_H
        return states_BH


def hidden(job: Job, progress: Progress) -> dict[str, Any]:
    """Write `hidden.npy`: float32 [N, H], the mean over a row's tokens of the hidden state after the last norm.

    The job's `on` says over which: the `response`, tokens that carry loss; the `instruction`, all others;
    or `both`. Zero where there is none. For the other keys see `base`. Returns {rows, dimensions}.
    """
    import torch

    model = open_base(job)
    examples, lengths_N = open_rows(job, model)
    width = model.config.get_text_config().hidden_size

    def work(indices: Sequence[int]) -> dict[str, np.ndarray]:
        batch = padded(examples.take(indices), model.device)
        seen_NT = batch.seen_NT.bool()
        wanted_NT = {"both": seen_NT, "response": batch.said_NT, "instruction": seen_NT & ~batch.said_NT}
        weights_NT = wanted_NT[job["on"]].double()
        with torch.inference_mode():
            states_NTH = model.base_model(**batch.inputs).last_hidden_state
            sums_NH = torch.einsum("nt,nth->nh", weights_NT, states_NTH.double())
            means_NH = sums_NH / weights_NT.sum(1, keepdim=True).clamp(min=1)
        return {"hidden": means_NH.float().cpu().numpy()}

    arrays = {"hidden": ((len(examples), width), np.float32)}
    fill(job, arrays, list(batches(lengths_N, job.get("batch_tokens") or BATCH_TOKENS)), work, progress)
    return {"rows": len(examples), "dimensions": width}
