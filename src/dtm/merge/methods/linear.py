"""Model soups: the weighted mean of the weights.

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time", arXiv:2203.05482.

    theta = sum_k w_k theta_k / sum_k w_k
"""

from dtm.merge.arithmetic import Block, Weights, normalized, weighted_sum
from dtm.merge.method import merger


def coefficients(weights_K: Weights, *, normalize: bool) -> Weights:
    return normalized(weights_K) if normalize else weights_K


@merger.register(
    "linear", paper="arXiv:2203.05482", coefficients=coefficients, idempotent="normalize", symmetric=True
)
def linear(models_K: Block, weights_K: Weights, *, normalize: bool = True) -> Block:
    """The weighted mean of the weights, or their plain weighted sum."""
    return weighted_sum(models_K, coefficients(weights_K, normalize=normalize))
