"""The mean weighted by how much each model's loss cares about each weight.

Matena and Raffel, "Merging Models with Fisher-Weighted Averaging", arXiv:2111.09832.

    theta = sum_k w_k F_k theta_k / sum_k w_k F_k        F_k: diagonal of the Fisher matrix, at least `floor`
"""

import numpy as np

from dtm.foundations.settings import Positive
from dtm.merge.arithmetic import Block, Weights
from dtm.merge.method import merger


@merger.register("fisher", paper="arXiv:2111.09832", needs=("fisher",), idempotent=True, symmetric=True)
def fisher(models_K: Block, weights_K: Weights, statistics_K: Block, *, floor: Positive = 1e-10) -> Block:
    """The mean weighted by weights times Fisher; where no model cares, the weighted mean."""
    total, share = np.zeros(models_K.shape[1:]), np.zeros(models_K.shape[1:])
    for model, weight, information in zip(models_K, weights_K, statistics_K, strict=True):
        importance = weight * np.maximum(information.astype(np.float64), floor)
        total += importance * model
        share += importance
    return (total / share).astype(np.float32)
