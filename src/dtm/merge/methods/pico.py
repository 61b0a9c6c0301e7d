"""Adapters' sum with the output directions that they share held back.

Tang and Yang, "Crowded in B-Space: Calibrating Shared Directions for LoRA Merging", arXiv:2604.16826.

After its abstract: the B factors of different tasks crowd into a few common directions, which a sum then counts K
times. Directions are the left singular vectors u of [w_1 s_1 B_1 ... w_K s_K B_K]; the formula for how shared each
is, and for the damping, is ours, not taken from the paper:

    e_k = |u' w_k s_k B_k|^2,  shared = (sum_k e_k)^2 / (K sum_k e_k^2)     from 1/K (one task's own) to 1 (all alike)
    u is scaled by (1 / (K shared))^strength, and the update then rescaled to the norm that the plain sum has
"""

from collections.abc import Sequence

import numpy as np

from dtm.foundations.settings import NotNegative
from dtm.merge.arithmetic import Block, Weights
from dtm.merge.method import merger
from dtm.merge.methods.lora_cat import lora_cat


@merger.register(
    "pico", paper="arXiv:2604.16826", form="factors", models=(2, None), symmetric=True, approximates=True
)
def pico(
    A_K: Sequence[Block],
    B_K: Sequence[Block],
    scale_K: Weights,
    weights_K: Weights,
    *,
    strength: NotNegative = 0.5,
    normalize: bool = True,
) -> tuple[Block, Block]:
    """The concatenated factors with B calibrated: A [R, in], B [out, R]."""
    A, B = lora_cat(A_K, B_K, scale_K, weights_K, normalize=normalize)
    wide = B.astype(np.float64)
    U, S, V = np.linalg.svd(wide, full_matrices=False)
    ends = np.cumsum([len(one) for one in A_K])[:-1]
    energy_K = np.stack([(part**2).sum(axis=1) for part in np.split(S[:, None] * V, ends, axis=1)])
    total, squares = energy_K.sum(axis=0), (energy_K**2).sum(axis=0)
    crowding = np.divide(total**2, squares, out=np.ones_like(total), where=squares > 0)  # K times `shared`
    damped = (U * (S * crowding**-strength)) @ V
    before, after = _norm(wide, A), _norm(damped, A)
    return A, (damped * (before / after if after > 0 else 1.0)).astype(np.float32)


def _norm(B: np.ndarray, A: Block) -> float:
    """The Frobenius norm of B A."""
    right = A.astype(np.float64)
    return float(np.sqrt(max(np.trace((B.T @ B) @ (right @ right.T)), 0.0)))
