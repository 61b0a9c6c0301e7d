"""The barycentre of several models on the sphere, to first order.

    u_k = theta_k / |theta_k|,  m = sum_k w_k u_k / |...|
    theta = (sum_k w_k |theta_k|) exp_m(sum_k w_k log_m u_k)

One step of the Karcher mean from the projected weighted mean (Buss and Fillmore, "Spherical averages and
applications to spherical splines and interpolation", ACM TOG 2001). With `from_base`, of the updates.
"""

from typing import Any

import numpy as np

from dtm.merge.arithmetic import Block, Weights, normalized, weighted_sum
from dtm.merge.method import Pass, merger
from dtm.merge.sphere import cosines, lengths, mean_direction, of_inputs, products_about_base, tangent_step


def coefficients(total: dict[str, Any], weights_K: Weights) -> Weights:
    share_K, angles = normalized(weights_K), cosines(total["gram"])
    start = mean_direction(angles, share_K)
    if start is None:
        return share_K  # opposite vectors have no barycentre: their plain mean
    unit_K, _ = tangent_step(angles, share_K, start)
    return of_inputs(unit_K, total["gram"], float(share_K @ lengths(total["gram"])))


@merger.register("multislerp", passes=(Pass(products_about_base, coefficients),), models=(2, None),
                 idempotent=True, symmetric=True)  # fmt: skip
def multislerp(
    models_K: Block, base: Block | None, state: tuple[Any, ...], *, from_base: bool = False
) -> Block:
    """The first-order barycentre of the models (or updates)."""
    if not from_base or base is None:
        return weighted_sum(models_K, state[0])
    shares = np.concatenate([[1 - state[0].sum()], state[0]])
    return weighted_sum(np.concatenate([base[None], models_K]), shares)
