"""Leave out each update's outliers and its small change, and add.

Davari and Belilovsky, "Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks", arXiv:2312.06795.
They drop the largest 1 % and keep about 15 % in all.

    keep     the values whose magnitude ranks, from the largest, lie in [gamma n, (gamma + density) n)
    theta    = theta_0 + scale sum_k w_k (m_k * tau_k)
"""

from typing import Any

import numpy as np

from dtm.merge.arithmetic import Block, Weights, normalized, weighted_sum
from dtm.merge.method import Place, merger
from dtm.merge.methods.ties import magnitudes
from dtm.merge.notation import Scalar, ShareK
from dtm.merge.selection import Cuts, selection, trimmed


def both_ends(count: int, *, density: Weights, gamma: Weights) -> np.ndarray:
    """How many values lie above the lower and above the upper cut: [2, K]."""
    top = [int(count * share) for share in gamma]
    kept = [int(count * share) for share in density]
    return np.array([[min(count, high + within) for high, within in zip(top, kept, strict=True)], top])


def crumbs(updates_K: Block, cuts: Cuts, place: Place) -> Block:
    """The updates between the two cuts, 0 elsewhere."""
    return trimmed(updates_K, cuts, place, 0) - trimmed(updates_K, cuts, place, 1)


@merger.register(
    "breadcrumbs", paper="arXiv:2312.06795", passes=selection(magnitudes, both_ends), symmetric=True
)
def breadcrumbs(
    updates_K: Block,
    weights_K: Weights,
    state: tuple[Any, ...],
    place: Place,
    *,
    density: ShareK = 0.14,
    gamma: ShareK = 0.01,
    scale: Scalar = 1.0,
    normalize: bool = False,
) -> Block:
    """The weighted sum (or mean) of the masked updates."""
    kept_K = crumbs(updates_K, state[-1], place)
    return weighted_sum(kept_K, scale * (normalized(weights_K) if normalize else weights_K))
