"""Drop most of each update at random, scale up the rest, and add.

Yu et al., "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
arXiv:2311.03099; they drop 90 % and more.

    theta = theta_0 + scale sum_k w_k (m_k * tau_k) / density        m_k ~ Bernoulli(density)
"""

from dtm.merge.arithmetic import Block, Weights, normalized, thinned, weighted_sum
from dtm.merge.method import merger
from dtm.merge.notation import Scalar, ShareK
from dtm.merge.random import Random


@merger.register("dare_linear", paper="arXiv:2311.03099", version=2, symmetric=True)
def dare_linear(
    updates_K: Block,
    weights_K: Weights,
    random: Random,
    *,
    density: ShareK = 0.1,
    scale: Scalar = 1.0,
    rescale: bool = True,
    normalize: bool = False,
) -> Block:
    """The weighted sum (or mean) of the thinned updates."""
    kept_K = thinned(updates_K, random.uniform_K(updates_K.shape), density, rescale)
    return weighted_sum(kept_K, scale * (normalized(weights_K) if normalize else weights_K))
