"""Random numbers that depend on what they are for, and not on when they are drawn.

Each number is a hash of its key and its index (splitmix64: Steele, Lea, Flood, OOPSLA 2014), so any block of any
tensor can be drawn by any thread in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dtm.foundations import seeds
from dtm.merge.arithmetic import Block
from dtm.merge.kernels import kernels


@dataclass(frozen=True)
class Random:
    """The random numbers of one block: keyed by (seed, model, tensor, index); for `models` see `identity`."""

    seed: int
    tensor: str
    start: int
    models: tuple[str, ...]
    count: int

    def uniform_K(self, shape: tuple[int, ...] | None = None) -> Block:
        """[K, block] fp32, uniform on [0, 1) in steps of 2^-24."""
        out = np.empty((len(self.models), self.count), np.float32)
        for model, row in zip(self.models, out, strict=True):
            key = seeds.derive(self.seed, "merge", model, self.tensor)
            kernels().uniform(np.uint64(key), np.uint64(self.start), row)
        return out.reshape(shape or out.shape)
