"""By the base's loss on the response: what the model finds unlikely is hard for it."""

from __future__ import annotations

import numpy as np

from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


@registry("scorer").register("loss", needs=("loss",))
def loss(examples_N: Examples, *, loss: np.ndarray) -> np.ndarray:
    """The base's mean negative log likelihood of a response token, in nats, float64 [N]."""
    return np.asarray(loss, np.float64)
