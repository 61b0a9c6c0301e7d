"""Drop at random, small values more often than large ones, and merge where the signs agree.

Deep et al., "DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling",
arXiv:2406.11617.

    keep     with probability density - epsilon for a row's smallest magnitude, rising evenly with the rank to
             density + epsilon for its largest; kept values are divided by their probability
    merge    as TIES: elect the sign of the weighted sum, take the mean of what agrees
"""

import numpy as np

from dtm.merge.arithmetic import Block, Weights, elected_sum
from dtm.merge.method import merger
from dtm.merge.notation import Scalar, Share, ShareK
from dtm.merge.random import Random


def sampled(updates_K: Block, random: Random, density: Weights, epsilon: float, rescale: bool) -> Block:
    """MAGPRUNE: updates [K, r, c] with values dropped by their magnitude's rank in the row."""
    uniform_K = random.uniform_K(updates_K.shape)
    order = np.argsort(np.abs(updates_K), axis=-1, kind="stable")
    ranks = np.empty(order.shape, np.float32)
    last = updates_K.shape[-1] - 1
    steps = (
        np.arange(last + 1, dtype=np.float32) / np.float32(max(last, 1))
        if last
        else np.full(1, 0.5, np.float32)
    )
    np.put_along_axis(ranks, order, np.broadcast_to(steps, order.shape), axis=-1)
    lowest = (np.asarray(density) - epsilon).astype(np.float32)[:, None, None]
    chance = np.clip(lowest + np.float32(2 * epsilon) * ranks, 0, 1)
    scaled = updates_K / np.where(chance > 0, chance, 1) if rescale else updates_K
    return np.where(uniform_K < chance, scaled, np.float32(0))


@merger.register("della", paper="arXiv:2406.11617", version=2, unit="row", symmetric=True)
def della(
    updates_K: Block,
    weights_K: Weights,
    random: Random,
    *,
    density: ShareK = 0.3,
    epsilon: Share = 0.1,
    scale: Scalar = 1.0,
    rescale: bool = True,
    normalize: bool = True,
) -> Block:
    """The elected mean (or sum) of the sampled updates, times `scale`."""
    kept_K = sampled(updates_K, random, density, epsilon, rescale)
    return elected_sum(kept_K, weights_K, normalize) * np.float32(scale)
