"""Select what varies, weigh by energy, erase the minority's sign.

Wan et al., "FuseChat: Knowledge Fusion of Chat Models", arXiv:2408.07990.

    select     keep the values whose variance over the sub-models is in the top `density` share of the tensor
    calculate  c_k = mean(tau_k^2) / sum_j mean(tau_j^2) over what is kept, times w_k
    erase      drop the values whose sign is not that of sum_k tau_k
    merge      sum_k c_k tau_k / sum_k c_k over the values that stay
"""

from typing import Any

import numpy as np

from dtm.merge.arithmetic import Block, Weights, energies
from dtm.merge.kernels import kernels
from dtm.merge.method import Pass, Place, merger
from dtm.merge.notation import Scalar, Share
from dtm.merge.selection import selection, trimmed


def variance(updates_K: Block) -> Block:
    """[1, n]: the variance over the sub-models of each value."""
    out = np.empty(updates_K.shape[1:], np.float32)
    kernels().variance(updates_K, out)
    return out[None]


def most_varied(count: int, *, density: float) -> np.ndarray:
    return np.array([[int(count * density)]])


def selected(updates_K: Block, state: tuple[Any, ...], place: Place, density: float) -> Block:
    """The updates where their variance is large, 0 elsewhere; where it is 0 they are never selected."""
    if density >= 1:
        return updates_K
    return np.where(trimmed(variance(updates_K), state[1], place)[0] > 0, updates_K, np.float32(0))


def squares(updates_K: Block, state: tuple[Any, ...], place: Place, *, density: float) -> dict[str, Any]:
    return {"squares": energies(selected(updates_K, state, place, density))}


def shares(total: dict[str, Any]) -> Weights:
    whole = total["squares"].sum()
    return (
        total["squares"] / whole if whole > 0 else np.full(len(total["squares"]), 1 / len(total["squares"]))
    )


def passes(*, density: Any, **_: Any) -> tuple[Pass, ...]:
    selecting = () if density == 1.0 else selection(variance, most_varied)
    return (*selecting, Pass(squares, shares))


@merger.register("sce", paper="arXiv:2408.07990", passes=passes, models=(2, None), symmetric=True)
def sce(
    updates_K: Block,
    weights_K: Weights,
    state: tuple[Any, ...],
    place: Place,
    *,
    density: Share = 1.0,
    scale: Scalar = 1.0,
) -> Block:
    """The updates that the majority agrees on, weighed by their energy."""
    kept_K = selected(updates_K, state, place, density)
    out = np.empty(updates_K.shape[1:], np.float32)
    kernels().majority_mean(np.ascontiguousarray(kept_K), state[-1] * weights_K, out)
    return out * np.float32(scale)
