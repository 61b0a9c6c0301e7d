"""One model as it is, or scaled: for stacking layers of several models with `slices`."""

import numpy as np

from dtm.merge.arithmetic import Block
from dtm.merge.method import merger
from dtm.merge.notation import Scalar


@merger.register("passthrough", models=(1, 1), idempotent=True)
def passthrough(models_K: Block, *, scale: Scalar = 1.0) -> Block:
    """The model's weights times `scale`."""
    return models_K[0] if scale == 1.0 else models_K[0] * np.float32(scale)
