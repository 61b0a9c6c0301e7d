"""Between the base and the mean, at the point that the sub-models' angle tells.

Jang et al., "Model Stock: All we need is just a few fine-tuned models", arXiv:2403.19522.

    c = mean cosine between two updates of the tensor        t = K c / (1 + (K - 1) c)
    theta = t mean(theta_k) + (1 - t) theta_0
"""

from typing import Any

import numpy as np

from dtm.merge.arithmetic import Block, Weights, gram, normalized, weighted_sum
from dtm.merge.method import Pass, merger


def products(updates_K: Block) -> dict[str, Any]:
    return {"gram": gram(updates_K)}


def ratio(total: dict[str, Any]) -> float:
    """t, from the Gram matrix of the updates; 0 where an update is zero."""
    norms = np.sqrt(np.diag(total["gram"]))
    count = len(norms)
    lengths = np.outer(norms, norms)
    cosines = np.divide(total["gram"], lengths, out=np.zeros_like(lengths), where=lengths > 0)
    cosine = (cosines.sum() - np.trace(cosines)) / (count * (count - 1))
    below = 1 + (count - 1) * cosine
    return float(count * cosine / below) if below != 0 else 0.0


def coefficients(weights_K: Weights, state: tuple[Any, ...]) -> Weights:
    return normalized(weights_K) * state[0]


@merger.register("model_stock", paper="arXiv:2403.19522", passes=(Pass(products, ratio),), models=(2, None),
                 coefficients=coefficients, idempotent=True, symmetric=True)  # fmt: skip
def model_stock(updates_K: Block, weights_K: Weights, state: tuple[Any, ...]) -> Block:
    """The mean update, shortened."""
    return weighted_sum(updates_K, coefficients(weights_K, state))
