"""Leave out each update's outliers and its small change, and merge where the signs agree.

Davari and Belilovsky, "Model Breadcrumbs", arXiv:2312.06795, with the election of TIES, arXiv:2306.01708.
"""

from typing import Any

import numpy as np

from dtm.merge.arithmetic import Block, Weights, elected_sum
from dtm.merge.method import Place, merger
from dtm.merge.methods.breadcrumbs import both_ends, crumbs
from dtm.merge.methods.ties import magnitudes
from dtm.merge.notation import Scalar, ShareK
from dtm.merge.selection import selection


@merger.register(
    "breadcrumbs_ties", paper="arXiv:2312.06795", passes=selection(magnitudes, both_ends), symmetric=True
)
def breadcrumbs_ties(
    updates_K: Block,
    weights_K: Weights,
    state: tuple[Any, ...],
    place: Place,
    *,
    density: ShareK = 0.14,
    gamma: ShareK = 0.01,
    scale: Scalar = 1.0,
    normalize: bool = True,
) -> Block:
    """The elected mean (or sum) of the masked updates, times `scale`."""
    return elected_sum(crumbs(updates_K, state[-1], place), weights_K, normalize) * np.float32(scale)
