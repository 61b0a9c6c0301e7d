"""The sum of the updates, where enough of them find it theirs.

Wang et al., "Localizing Task Information for Improved Model Merging and Compression" (TALL-masks), arXiv:2405.07813.

    m_k = |tau_k| >= strictness |tau - tau_k|,  tau = sum_k w_k tau_k
    theta = theta_0 + scale tau  where at least `agreeing` of the m_k hold, theta_0 elsewhere
"""

import numpy as np

from dtm.foundations.settings import Count
from dtm.merge.arithmetic import Block, Weights, weighted_sum
from dtm.merge.method import merger
from dtm.merge.notation import Magnitude, Scalar


@merger.register("consensus_ta", paper="arXiv:2405.07813", symmetric=True)
def consensus_ta(
    updates_K: Block,
    weights_K: Weights,
    *,
    strictness: Magnitude = 0.4,
    agreeing: Count = 2,
    scale: Scalar = 1.0,
) -> Block:
    """The weighted sum of the updates without what only few of them use."""
    total = weighted_sum(updates_K, weights_K)
    used = (np.abs(updates_K) >= np.float32(strictness) * np.abs(total - updates_K)).sum(axis=0)
    return np.where(used >= agreeing, total * np.float32(scale), np.float32(0))
