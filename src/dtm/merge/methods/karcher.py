"""The Riemannian mean of several models on the sphere.

Karcher, "Riemannian center of mass and mollifier smoothing", 1977: the point whose weighted mean of logarithms is 0,
found by steps along that mean; its length is the weighted mean of the models' lengths.
"""

from typing import Any

import numpy as np

from dtm.foundations.settings import Count, NotNegative
from dtm.merge.arithmetic import Block, Weights, normalized, weighted_sum
from dtm.merge.method import Pass, merger
from dtm.merge.sphere import cosines, lengths, mean_direction, of_inputs, products, tangent_step


def coefficients(total: dict[str, Any], weights_K: Weights, *, steps: int, tolerance: float) -> Weights:
    share_K, angles = normalized(weights_K), cosines(total["gram"])
    unit_K = mean_direction(angles, share_K)
    if unit_K is None:
        return share_K
    for _ in range(steps):
        unit_K, moved = tangent_step(angles, share_K, unit_K)
        if moved < tolerance:
            break
    return of_inputs(np.asarray(unit_K), total["gram"], float(share_K @ lengths(total["gram"])))


@merger.register("karcher", passes=(Pass(products, coefficients),), idempotent=True, symmetric=True)
def karcher(
    models_K: Block, state: tuple[Any, ...], *, steps: Count = 100, tolerance: NotNegative = 1e-10
) -> Block:
    """The Karcher mean of the models."""
    return weighted_sum(models_K, state[0])
