"""A random projection of a gradient to few numbers, which keeps inner products and is never held as a matrix.

Coordinate i of a tensor goes, with a random sign, to one of D places. Signs are independent, so inner products
are kept in the mean; two coordinates meet with probability 1 / D at most, so their variance is at most
(|x|^2 |y|^2 + <x, y>^2) / D, as of the count sketch (Charikar, Chen, Farach-Colton 2002; for learning Weinberger
et al. 2009, arXiv:0902.2206). Instead of a hash for each coordinate, D of them that stand side by side are turned by
one random shift: coordinates of one turn never meet, those of two turns do with probability 1 / D.

Signs and shifts are drawn anew for each tensor from Philox, a counter-based generator, keyed by seed and name:
what is held is a block of signs and D numbers, whatever the size of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dtm.foundations.seeds import derive

BLOCK = 1 << 20  # coordinates whose signs are held at a time, about


def sketch(tensors: Mapping[str, Any], dimensions: int, seed: int) -> np.ndarray:
    """The projection, float64 [D], of all the tensors (torch, by name) as one vector; a None counts as zeros.

    It is linear, does not depend on the order of the tensors but for rounding, and sums in fp64.
    """
    total_D = np.zeros(dimensions)
    for name, tensor in tensors.items():
        if tensor is not None:
            flat_P = tensor.detach().reshape(-1).float().cpu().numpy()
            _add(total_D, flat_P, np.random.Philox(key=derive(seed, "sketch", name)))
    return total_D


def _add(total_D: np.ndarray, flat_P: np.ndarray, source: np.random.Philox) -> None:
    """Add the projection of one tensor."""
    width = len(total_D)
    words = -(-width // 64)  # 64 signs each, of one turn
    for start in range(0, len(flat_P), width * max(1, BLOCK // width)):
        block_P = flat_P[start : start + width * max(1, BLOCK // width)]
        turns = -(-len(block_P) // width)
        drawn_TW = source.random_raw(turns * (words + 1)).reshape(turns, words + 1)
        shifts_T = (drawn_TW[:, 0] % np.uint64(width)).astype(np.int64)
        bits_TB = np.ascontiguousarray(drawn_TW[:, 1:].astype("<u8")).view(np.uint8)
        signs_TD = np.unpackbits(bits_TB, axis=1, count=width, bitorder="little")
        block_TD = np.zeros((turns, width), np.float32)
        block_TD.reshape(-1)[: len(block_P)] = block_P
        np.negative(block_TD, out=block_TD, where=signs_TD.view(bool))
        for turn_D, shift in zip(block_TD, shifts_T.tolist(), strict=True):
            total_D[shift:] += turn_D[: width - shift]
            total_D[:shift] += turn_D[width - shift :]
