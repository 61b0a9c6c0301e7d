"""Updates brought into one basis before another method merges them.

Stoica et al., "Model merging with SVD to tie the Knots", arXiv:2410.19735.

    U S [V_1' ... V_K'] = [tau_1 ... tau_K]        tau = U S merge(V_1', ..., V_K')

Tensors that are not matrices are averaged.
"""

from collections.abc import Callable

import numpy as np

from dtm.merge.algebra import Algebra
from dtm.merge.arithmetic import Block
from dtm.merge.method import merger
from dtm.merge.notation import WrappedMethod


@merger.register("knots", paper="arXiv:2410.19735", form="modifier", unit="tensor", matrices=True)
def knots(
    inner: Callable[[Block], Block], updates_K: Block, algebra: Algebra, *, of: WrappedMethod = "ties"
) -> Block:
    """The update [r, c] that the wrapped method `of` makes of the updates [K, r, c] in their common basis."""
    count, _, width = updates_K.shape
    U, S, V = algebra.svd(np.concatenate(list(updates_K), axis=1))
    V_K = np.ascontiguousarray(V.reshape(len(V), count, width).swapaxes(0, 1))
    return (U * S) @ inner(V_K)
