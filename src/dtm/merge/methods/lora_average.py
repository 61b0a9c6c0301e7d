"""The mean of the factors, as in the release of Disperse-Then-Merge: for reproduction.

    A = sum_k w_k A_k    B = sum_k w_k B_k

The product of the means is not the mean of the products: `linear` or `lora_cat` give that.
Fu et al., "Disperse-Then-Merge: Pushing the Limits of Instruction Tuning via Alignment Tax Reduction",
arXiv:2405.13432.
"""

from collections.abc import Sequence

import numpy as np

from dtm.merge.arithmetic import Block, Weights, normalized, weighted_sum
from dtm.merge.method import merger


@merger.register(
    "lora_average",
    paper="arXiv:2405.13432",
    form="factors",
    same_rank=True,
    rank=lambda ranks, settings: max(ranks),
    idempotent=True,
    symmetric=True,
    approximates=True,
)
def lora_average(
    A_K: Sequence[Block], B_K: Sequence[Block], scale_K: Weights, weights_K: Weights
) -> tuple[Block, Block]:
    """The averaged factors, A [r, in] and B [out, r], the common scale in B; all A_k of one shape."""
    share_K = normalized(weights_K)
    return weighted_sum(np.stack(A_K), share_K), weighted_sum(np.stack(B_K), share_K * scale_K[0])
