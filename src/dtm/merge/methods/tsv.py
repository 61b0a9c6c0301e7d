"""Each update's leading singular directions, made orthogonal to the others'.

Gargiulo et al., "Task Singular Vectors: Reducing Task Interference in Model Merging", arXiv:2412.00081 (TSV-M).

    tau_k ~ U_k S_k V_k', the first min(r, c) / K directions of each
    U = [U_1 ... U_K] -> its nearest orthogonal matrix, V likewise
    tau = scale U diag(w_1 S_1, ..., w_K S_K) V'

Tensors that are not matrices are averaged.
"""

import numpy as np

from dtm.merge.algebra import Algebra
from dtm.merge.arithmetic import Block, Weights
from dtm.merge.method import merger
from dtm.merge.notation import Scalar


def nearest_orthogonal(matrix: np.ndarray, algebra: Algebra) -> np.ndarray:
    """P Q' of the singular value decomposition P D Q': the Procrustes solution."""
    P, _, Q = algebra.svd(matrix)
    return P @ Q


@merger.register("tsv", paper="arXiv:2412.00081", unit="tensor", matrices=True, symmetric=True)
def tsv(updates_K: Block, weights_K: Weights, algebra: Algebra, *, scale: Scalar = 1.0) -> Block:
    """The merged update [r, c] of updates [K, r, c]."""
    rank = max(1, min(updates_K.shape[1:]) // len(updates_K))
    parts = [algebra.svd(update) for update in updates_K]
    U = np.concatenate([U[:, :rank] for U, _, _ in parts], axis=1)
    V = np.concatenate([V[:rank] for _, _, V in parts], axis=0)
    S = np.concatenate([weight * S[:rank] for (_, S, _), weight in zip(parts, weights_K, strict=True)])
    left, right = nearest_orthogonal(U, algebra), nearest_orthogonal(V, algebra)
    return (left * (scale * S).astype(np.float32)) @ right
