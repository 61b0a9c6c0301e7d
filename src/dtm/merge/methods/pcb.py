"""Parameter competition: a value counts by its own size, and by its agreement with the other updates.

Du et al., "Parameter Competition Balancing for Model Merging", arXiv:2410.02396; density 0.1 is theirs.

    within    exp(K norm(tau_k^2))                      norm: divided by the largest of the tensor
    between   sum_j exp(norm(tau_k tau_j))
    beta_k    within * between on the `density` share of the tensor where that is largest, 0 elsewhere
    tau       scale sum_k beta_k w_k tau_k / sum_k beta_k

The paper's softmax divides by a sum over the tensor, the same for all its values; it is left out, so that numbers
keep their range, and each product's norm is that of its own pair.
"""

from typing import Any

import numpy as np

from dtm.merge.arithmetic import Block, Weights
from dtm.merge.method import Pass, Place, merger
from dtm.merge.notation import Scalar, ShareK
from dtm.merge.selection import selection, trimmed


class Largest:
    """The largest magnitudes of products of updates [K, K]; adding two takes the larger."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __add__(self, other: "Largest") -> "Largest":
        return Largest(np.maximum(self.values, other.values))


def peaks(updates_K: Block) -> dict[str, Any]:
    wide_K = updates_K.astype(np.float64)
    return {"peaks": Largest(np.array([[np.abs(one * other).max() for other in wide_K] for one in wide_K]))}


def highest(total: dict[str, Any]) -> np.ndarray:
    return np.where(total["peaks"].values > 0, total["peaks"].values, 1.0)


def competition(updates_K: Block, state: tuple[Any, ...]) -> Block:
    """beta before the cut: [K, n], all positive."""
    wide_K, norm = updates_K.astype(np.float64), state[0]
    within_K = np.exp(len(wide_K) * wide_K**2 / np.diag(norm)[:, None])
    between_K = [sum(np.exp(one * other / norm[k, j]) for j, other in enumerate(wide_K))
                 for k, one in enumerate(wide_K)]  # fmt: skip
    return (within_K * np.stack(between_K)).astype(np.float32)


def best(count: int, *, density: Weights) -> np.ndarray:
    return np.array([[int(count * share) for share in density]])


@merger.register("pcb", paper="arXiv:2410.02396", passes=(Pass(peaks, highest), *selection(competition, best)),
                 symmetric=True)  # fmt: skip
def pcb(
    updates_K: Block,
    weights_K: Weights,
    state: tuple[Any, ...],
    place: Place,
    *,
    density: ShareK = 0.1,
    scale: Scalar = 1.0,
) -> Block:
    """The updates averaged by their scores in the competition."""
    beta_K = trimmed(competition(updates_K, state), state[2], place).astype(np.float64)
    share = beta_K.sum(axis=0)
    total = np.einsum("kn,k,kn->n", beta_K, weights_K, updates_K.astype(np.float64))
    return (scale * total / np.where(share > 0, share, 1.0)).astype(np.float32)
