"""The base plus the sum of the updates.

Ilharco et al., "Editing Models with Task Arithmetic", arXiv:2212.04089.

    theta = theta_0 + scale sum_k w_k tau_k
"""

from dtm.merge.arithmetic import Block, Weights, normalized, weighted_sum
from dtm.merge.method import merger
from dtm.merge.notation import Scalar


def coefficients(weights_K: Weights, *, scale: float, normalize: bool) -> Weights:
    return scale * (normalized(weights_K) if normalize else weights_K)


@merger.register("task_arithmetic", paper="arXiv:2212.04089", coefficients=coefficients, idempotent="normalize",
                 symmetric=True)  # fmt: skip
def task_arithmetic(
    updates_K: Block, weights_K: Weights, *, scale: Scalar = 1.0, normalize: bool = False
) -> Block:
    """The weighted sum of the updates, or with `normalize` their weighted mean."""
    return weighted_sum(updates_K, coefficients(weights_K, scale=scale, normalize=normalize))
