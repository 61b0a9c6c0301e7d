"""Each linear layer as the least-squares fit to all sub-models' outputs on their own inputs.

Jin et al., "Dataless Knowledge Fusion by Merging Weights of Language Models", arXiv:2212.09849; damping 0.9 is
theirs.

    W' = (sum_k w_k G_k)^-1 sum_k w_k G_k W_k'        G_k = X_k' X_k [in, in], its off-diagonals times `damping`

Tensors without a Gram matrix are averaged.
"""

import numpy as np

from dtm.foundations.errors import ModelError
from dtm.foundations.settings import Fraction, NotNegative
from dtm.merge.algebra import Algebra
from dtm.merge.arithmetic import Block, Weights
from dtm.merge.method import Place, merger


@merger.register("regmean", paper="arXiv:2212.09849", needs=("gram",), unit="tensor", matrices=True,
                 idempotent=True, symmetric=True)  # fmt: skip
def regmean(models_K: Block, weights_K: Weights, statistics_K: Block, place: Place, algebra: Algebra, *,
            damping: Fraction = 0.9, ridge: NotNegative = 1e-6) -> Block:  # fmt: skip
    """W [out, in] of weights [K, out, in] and Gram matrices [K, in, in]; solved in fp64.

    `ridge` adds that share of each matrix's mean diagonal, which pulls inputs that no data moved to the mean.
    """
    width = models_K.shape[2]
    if statistics_K.shape[1:] != (width, width):
        raise ModelError(f"the Gram matrix of {place.tensor!r} is {list(statistics_K.shape[1:])}; its weight needs "
                         f"{[width, width]}")  # fmt: skip
    left, right = np.zeros((width, width)), np.zeros((width, models_K.shape[1]))
    for model, weight, products in zip(models_K, weights_K, statistics_K, strict=True):
        G = products.astype(np.float64)
        own = np.diag(G).copy()
        G *= damping
        G[np.diag_indices(width)] = own + ridge * (own.mean() or 1.0)
        left += weight * G
        right += weight * (G @ model.T.astype(np.float64))
    return algebra.solve(left, right).T.astype(np.float32)
