"""A flat spectrum over the directions that updates share, and over each one's own.

Marczak et al., "No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces",
arXiv:2502.04959 (Iso-CTS); `common` 0.8 is theirs.

    U S V' = sum_k w_k tau_k                             the first c = n - K s directions are the common ones
    U_k S_k V_k' = (1 - U_c U_c') w_k tau_k              the first s = round((n - int(n common)) / K) of each
    U = [U_c U_1 ... U_K] -> its nearest orthogonal matrix, V likewise;  n the smaller side of the matrix
    tau = scale mean(S_c, S_1, ..., S_K) U V'

The weights are ours; the paper's are 1. Tensors that are not matrices are averaged.
"""

import numpy as np

from dtm.foundations.settings import Fraction
from dtm.merge.algebra import Algebra
from dtm.merge.arithmetic import Block, Weights, weighted_sum
from dtm.merge.method import merger
from dtm.merge.methods.tsv import nearest_orthogonal
from dtm.merge.notation import Scalar


@merger.register("iso_cts", paper="arXiv:2502.04959", unit="tensor", matrices=True, symmetric=True)
def iso_cts(
    updates_K: Block,
    weights_K: Weights,
    algebra: Algebra,
    *,
    common: Fraction = 0.8,
    scale: Scalar = 1.0,
) -> Block:
    """The merged update [r, c] of updates [K, r, c]; all 0 where the updates are."""
    count, size = len(updates_K), min(updates_K.shape[1:])
    own = min(size // count, round((size - int(size * common)) / count))
    shared = size - count * own
    U, S, V = algebra.svd(weighted_sum(updates_K, weights_K))
    left, values, right = [U[:, :shared]], [S[:shared]], [V[:shared]]
    for update, weight in zip(updates_K, weights_K.astype(np.float32), strict=True):
        apart = weight * (update - U[:, :shared] @ (U[:, :shared].T @ update))
        P, T, Q = algebra.svd(apart)
        left, values, right = [*left, P[:, :own]], [*values, T[:own]], [*right, Q[:own]]
    level = np.float32(scale * np.concatenate(values).mean(dtype=np.float64))
    if level == 0:
        return np.zeros(updates_K.shape[1:], np.float32)
    both = (
        nearest_orthogonal(np.concatenate(left, axis=1), algebra),
        nearest_orthogonal(np.concatenate(right), algebra),
    )
    return (both[0] * level) @ both[1]
