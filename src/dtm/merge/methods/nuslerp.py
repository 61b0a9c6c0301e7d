"""Between two models along the arc, by their weights; around a base if asked.

As `slerp`, with t = w_2 / (w_1 + w_2) and no special case before the tensors are parallel; with `from_base` the arc
is between the updates. The name is mergekit's; the formula is Shoemake's.
"""

from typing import Any

import numpy as np

from dtm.merge.arithmetic import Block, Weights, normalized, weighted_sum
from dtm.merge.method import Pass, merger
from dtm.merge.sphere import arc, cosines, products_about_base


def coefficients(total: dict[str, Any], weights_K: Weights) -> Weights:
    return np.array(arc(cosines(total["gram"])[0, 1], float(normalized(weights_K)[1])))


@merger.register("nuslerp", passes=(Pass(products_about_base, coefficients),), models=(2, 2), idempotent=True,
                 symmetric=True)  # fmt: skip
def nuslerp(models_K: Block, base: Block | None, state: tuple[Any, ...], *, from_base: bool = False) -> Block:
    """The point between the two models (or updates) that their weights say."""
    if not from_base or base is None:
        return weighted_sum(models_K, state[0])
    shares = np.concatenate([[1 - state[0].sum()], state[0]])
    return weighted_sum(np.concatenate([base[None], models_K]), shares)
