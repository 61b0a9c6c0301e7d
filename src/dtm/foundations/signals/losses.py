"""The base's loss on each row's response, as one number and along the response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dtm.foundations.batches import batches, padded
from dtm.foundations.signals.base import BATCH_TOKENS, Job, Progress, fill, open_base, open_rows

BANDS = 8  # parts of a response whose losses are told apart


def losses(job: Job, progress: Progress) -> dict[str, Any]:
    """Write `loss.npy`, float64 [N], and `loss_profile.npy`, float32 [N, BANDS], both in nats a response token.

    A row's loss is the mean negative log likelihood of the tokens that carry loss, 0 where none does. Its
    profile has the means over the first eighth of them, the second, and so on; in a response of fewer tokens
    than bands neighbours share a token. For a job's keys see `base`. Returns {rows}.
    """
    import torch
    from torch.nn.functional import cross_entropy

    model = open_base(job)
    examples, lengths_N = open_rows(job, model)

    def work(indices: Sequence[int]) -> dict[str, np.ndarray]:
        batch = padded(examples.take(indices), model.device)
        with torch.inference_mode():
            logits_NTV = model(**batch.inputs).logits[:, :-1]
            rows = []
            for logits_TV, targets_T, told_T in zip(
                logits_NTV, batch.ids_NT[:, 1:], batch.told_NT, strict=True
            ):
                loss_T = cross_entropy(logits_TV[told_T].float(), targets_T[told_T], reduction="none")
                rows.append(loss_T.double().cpu().numpy())
        means_N = np.array([loss_T.mean() if len(loss_T) else 0.0 for loss_T in rows])
        return {"loss": means_N, "loss_profile": np.stack([profile(loss_T) for loss_T in rows])}

    arrays = {"loss": ((len(examples),), np.float64), "loss_profile": ((len(examples), BANDS), np.float32)}
    fill(job, arrays, list(batches(lengths_N, job.get("batch_tokens") or BATCH_TOKENS)), work, progress)
    return {"rows": len(examples)}


def profile(loss_T: np.ndarray) -> np.ndarray:
    """The mean loss of each of BANDS parts of a response, float64 [BANDS]; zeros for an empty one."""
    count = len(loss_T)
    if not count:
        return np.zeros(BANDS)
    reached = np.concatenate([[0.0], np.cumsum(loss_T)])
    starts = np.arange(BANDS) * count // BANDS
    ends = -(-np.arange(1, BANDS + 1) * count // BANDS)  # rounded up: a band holds one token at least
    return (reached[ends] - reached[starts]) / (ends - starts)
