"""Between a base and its fine-tuned model, in a straight line.

Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv:2109.01903.

    theta = (1 - a) theta_0 + a theta_1        with several models, theta_1 is their weighted mean
"""

import numpy as np

from dtm.merge.arithmetic import Block, Weights, normalized, weighted_sum
from dtm.merge.method import merger
from dtm.merge.notation import Scalar


@merger.register("wise_ft", paper="arXiv:2109.01903", base=True, symmetric=True)
def wise_ft(base: Block, models_K: Block, weights_K: Weights, *, alpha: Scalar = 0.5) -> Block:
    """The point at `alpha` on the line from the base (0) to the models' mean (1)."""
    shares = np.concatenate([[1.0 - alpha], alpha * normalized(weights_K)])
    return weighted_sum(np.concatenate([base[None], models_K]), shares)
