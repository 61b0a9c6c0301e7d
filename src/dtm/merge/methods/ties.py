"""Trim, elect sign, merge: the updates' largest values, where they agree on a direction.

Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", arXiv:2306.01708; density 0.2 is theirs.

    trim     of each tau_k, keep the `density` share of largest magnitude (exactly; equals by lower index)
    elect    the sign of sum_k w_k tau_k, value by value
    merge    the weighted mean of the values that have it

The original trims over the whole flattened model (`scope: model`); mergekit and peft trim each tensor (`scope:
tensor`, the default, which reads one tensor at a time).
"""

from typing import Any, Literal

import numpy as np

from dtm.merge.arithmetic import Block, Weights, elected_sum
from dtm.merge.method import Place, merger
from dtm.merge.notation import Scalar, ShareK
from dtm.merge.selection import selection, trimmed


def magnitudes(updates_K: Block) -> Block:
    return updates_K


def largest(count: int, *, density: Weights) -> np.ndarray:
    """How many values of each update stay: [1, K]."""
    return np.array([[int(count * share) for share in density]])


@merger.register(
    "ties",
    paper="arXiv:2306.01708",
    scope="scope",
    passes=selection(magnitudes, largest),
    symmetric=True,
)
def ties(
    updates_K: Block,
    weights_K: Weights,
    state: tuple[Any, ...],
    place: Place,
    *,
    density: ShareK = 0.2,
    scale: Scalar = 1.0,
    normalize: bool = True,
    scope: Literal["tensor", "model"] = "tensor",
) -> Block:
    """The elected mean (or with `normalize: false` the sum) of the trimmed updates, times `scale`."""
    kept_K = trimmed(updates_K, state[-1], place)
    return elected_sum(kept_K, weights_K, normalize) * np.float32(scale)
