"""Drop most of each update at random, scale up the rest, and merge where the signs agree.

Yu et al., "Language Models are Super Mario", arXiv:2311.03099, over TIES, arXiv:2306.01708: the random drop takes the
place of the trim.
"""

import numpy as np

from dtm.merge.arithmetic import Block, Weights, elected_sum, thinned
from dtm.merge.method import merger
from dtm.merge.notation import Scalar, ShareK
from dtm.merge.random import Random


@merger.register("dare_ties", paper="arXiv:2311.03099", version=2, symmetric=True)
def dare_ties(
    updates_K: Block,
    weights_K: Weights,
    random: Random,
    *,
    density: ShareK = 0.1,
    scale: Scalar = 1.0,
    rescale: bool = True,
    normalize: bool = True,
) -> Block:
    """The elected mean (or sum) of the thinned updates, times `scale`."""
    kept_K = thinned(updates_K, random.uniform_K(updates_K.shape), density, rescale)
    return elected_sum(kept_K, weights_K, normalize) * np.float32(scale)
