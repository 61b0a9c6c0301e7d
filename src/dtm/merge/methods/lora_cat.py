"""The exact weighted sum of adapters as one adapter: factors side by side.

    A = [A_1; ...; A_K]   B = [w_1 s_1 B_1, ..., w_K s_K B_K]   B A = sum_k w_k s_k B_k A_k

Its rank is the sum of the ranks, which need not be equal. Described as CAT in arXiv:2410.13025.
"""

from collections.abc import Sequence

import numpy as np

from dtm.merge.arithmetic import Block, Weights, normalized
from dtm.merge.method import merger


@merger.register("lora_cat", paper="arXiv:2410.13025", form="factors", idempotent="normalize", symmetric=True)
def lora_cat(
    A_K: Sequence[Block],
    B_K: Sequence[Block],
    scale_K: Weights,
    weights_K: Weights,
    *,
    normalize: bool = True,
) -> tuple[Block, Block]:
    """The concatenated factors, A [R, in] and B [out, R], the weights and scales in B."""
    weights_K = normalized(weights_K) if normalize else weights_K
    parts = [B * np.float32(w * s) for B, s, w in zip(B_K, scale_K, weights_K, strict=True)]
    return np.concatenate(A_K, axis=0), np.concatenate(parts, axis=1)


def missed(A: Block, B: Block, exact_A: Block, exact_B: Block) -> tuple[float, float]:
    """|B A - E|^2 and |E|^2 (Frobenius) of E = exact_B exact_A, in fp64 and without forming either product."""
    left = np.concatenate([B, -exact_B], axis=1).astype(np.float64)
    right = np.concatenate([A, exact_A], axis=0).astype(np.float64)
    products = (left.T @ left) * (right @ right.T)
    own = products[len(A) :, len(A) :].sum()
    return max(float(products.sum()), 0.0), float(own)
