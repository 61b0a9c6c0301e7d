"""The sum of the updates with a flat spectrum.

Marczak et al., "No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces",
arXiv:2502.04959 (Iso-C).

    U S V' = sum_k w_k tau_k        tau = scale mean(S) U V'

Tensors that are not matrices are averaged.
"""

import numpy as np

from dtm.merge.algebra import Algebra
from dtm.merge.arithmetic import Block, Weights, weighted_sum
from dtm.merge.method import merger
from dtm.merge.notation import Scalar


@merger.register("iso_c", paper="arXiv:2502.04959", unit="tensor", matrices=True, symmetric=True)
def iso_c(updates_K: Block, weights_K: Weights, algebra: Algebra, *, scale: Scalar = 1.0) -> Block:
    """The merged update [r, c] of updates [K, r, c]; directions of singular value 0 stay out."""
    U, S, V = algebra.svd(weighted_sum(updates_K, weights_K))
    smallest = S[0] * max(updates_K.shape[1:]) * np.finfo(np.float32).eps
    level = np.where(smallest < S, np.float32(scale) * S.mean(dtype=np.float64), 0).astype(np.float32)
    return (U * level) @ V
