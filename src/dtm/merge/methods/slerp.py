"""Between two models along the arc that joins them.

Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985; each tensor is one flat vector.

    theta = sin((1 - t) a) / sin a theta_1 + sin(t a) / sin a theta_2        a: the angle between them

Nearly parallel tensors (cosine above 0.9995) are joined by a straight line.
"""

from typing import Any

import numpy as np

from dtm.merge.arithmetic import Block, Weights, weighted_sum
from dtm.merge.method import Pass, merger
from dtm.merge.notation import Share
from dtm.merge.sphere import arc, cosines, products


def coefficients(total: dict[str, Any], *, t: float) -> Weights:
    cosine = cosines(total["gram"])[0, 1]
    return np.array(arc(cosine, t) if abs(cosine) <= 0.9995 else (1 - t, t))


@merger.register("slerp", passes=(Pass(products, coefficients),), models=(2, 2), idempotent=True)
def slerp(models_K: Block, state: tuple[Any, ...], *, t: Share = 0.5) -> Block:
    """The point at `t` from the first model (0) to the second (1); weights are not used."""
    return weighted_sum(models_K, state[0])
