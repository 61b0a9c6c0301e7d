"""Drop at random, small values more often than large ones, and add.

Deep et al., "DELLA-Merging", arXiv:2406.11617, without the election of signs.
"""

from dtm.merge.arithmetic import Block, Weights, normalized, weighted_sum
from dtm.merge.method import merger
from dtm.merge.methods.della import sampled
from dtm.merge.notation import Scalar, Share, ShareK
from dtm.merge.random import Random


@merger.register("della_linear", paper="arXiv:2406.11617", version=2, unit="row", symmetric=True)
def della_linear(
    updates_K: Block,
    weights_K: Weights,
    random: Random,
    *,
    density: ShareK = 0.3,
    epsilon: Share = 0.1,
    scale: Scalar = 1.0,
    rescale: bool = True,
    normalize: bool = False,
) -> Block:
    """The weighted sum (or mean) of the sampled updates."""
    kept_K = sampled(updates_K, random, density, epsilon, rescale)
    return weighted_sum(kept_K, scale * (normalized(weights_K) if normalize else weights_K))
