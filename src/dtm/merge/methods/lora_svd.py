"""The weighted sum of adapters as an adapter of a chosen rank: the nearest one there is.

    B A = the best rank-`rank` approximation of sum_k w_k s_k B_k A_k (Eckart and Young, 1936)

The sum is never formed: QR of the concatenated factors leaves an SVD of size sum r.
"""

from collections.abc import Sequence

import numpy as np

from dtm.foundations.settings import Count
from dtm.merge.arithmetic import Block, Weights
from dtm.merge.method import merger
from dtm.merge.methods.lora_cat import lora_cat


@merger.register(
    "lora_svd",
    form="factors",
    rank=lambda ranks, settings: min(sum(ranks), settings["rank"]),
    symmetric=True,
    approximates=True,
)
def lora_svd(
    A_K: Sequence[Block],
    B_K: Sequence[Block],
    scale_K: Weights,
    weights_K: Weights,
    *,
    rank: Count = 16,
    normalize: bool = True,
) -> tuple[Block, Block]:
    """Factors A [rank, in] and B [out, rank], the singular values' roots in both."""
    A, B = lora_cat(A_K, B_K, scale_K, weights_K, normalize=normalize)
    rank = min(rank, len(A))
    Q, R = np.linalg.qr(B.astype(np.float64))
    P, L = np.linalg.qr(A.T.astype(np.float64))
    U, S, V = np.linalg.svd(R @ L.T, full_matrices=False)
    root = np.sqrt(np.pad(S, (0, max(0, rank - len(S))))[:rank])
    left, right = Q @ U[:, :rank], V[:rank] @ P.T
    short = rank - left.shape[1]
    if short > 0:  # a module smaller than the rank: directions of value 0 fill it up
        left, right = np.pad(left, ((0, 0), (0, short))), np.pad(right, ((0, short), (0, 0)))
    return (right * root[:, None]).astype(np.float32), (left * root).astype(np.float32)
