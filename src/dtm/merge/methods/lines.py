"""Another method's update, scaled by the depth of the layer.

Wang et al., "LiNeS: Post-training Layer Scaling Prevents Forgetting and Enhances Model Merging", arXiv:2410.17146.

    theta = theta_0 + (alpha + beta depth) tau        depth: 0 in the first layer, 1 in the last

The paper sets alpha + beta = 1 for one model; the defaults here are ours.
"""

from collections.abc import Callable

import numpy as np

from dtm.merge.arithmetic import Block
from dtm.merge.method import merger
from dtm.merge.notation import WrappedMethod


@merger.register("lines", paper="arXiv:2410.17146", form="modifier")
def lines(
    inner: Callable[[Block], Block],
    updates_K: Block,
    depth: float,
    *,
    of: WrappedMethod = "task_arithmetic",
    alpha: float = 0.2,
    beta: float = 0.8,
) -> Block:
    """The update that the wrapped method `of` makes, times alpha + beta depth."""
    return inner(updates_K) * np.float32(alpha + beta * depth)
