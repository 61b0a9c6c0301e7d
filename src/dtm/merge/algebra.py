"""Decompositions of whole matrices, by LAPACK or on a CUDA device.

Only these leave the CPU: a method that goes value by value runs at the speed of the disk there, and a copy to a
device and back would only be added. A singular value decomposition of a large matrix takes seconds.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dtm.foundations.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda")
Matrix = np.ndarray


class Algebra(Protocol):
    """What methods of whole matrices ask for by the name `algebra`; arrays in and out, in the type that they have."""

    device: str

    def svd(self, matrix: Matrix) -> tuple[Matrix, Matrix, Matrix]:
        """U [r, n], S [n] descending and V' [n, c] of a matrix [r, c], n the smaller of both."""

    def solve(self, left: Matrix, right: Matrix) -> Matrix:
        """X [n, m] of left [n, n] X = right [n, m]."""


class Lapack:
    """On the CPU."""

    device = "cpu"

    def svd(self, matrix: Matrix) -> tuple[Matrix, Matrix, Matrix]:
        return np.linalg.svd(matrix, full_matrices=False)

    def solve(self, left: Matrix, right: Matrix) -> Matrix:
        return np.linalg.solve(left, right)


class Torch:
    """On a device of torch; one matrix at a time, whichever thread asks, so that memory there is that of one."""

    def __init__(self, device: str) -> None:
        import torch

        self.device, self._torch, self._turn = device, torch, threading.Lock()

    def svd(self, matrix: Matrix) -> tuple[Matrix, Matrix, Matrix]:
        with self._turn:
            U, S, V = self._torch.linalg.svd(self._there(matrix), full_matrices=False)
            return self._back(U), self._back(S), self._back(V)

    def solve(self, left: Matrix, right: Matrix) -> Matrix:
        with self._turn:
            return self._back(self._torch.linalg.solve(self._there(left), self._there(right)))

    def _there(self, matrix: Matrix) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(matrix)).to(self.device)

    def _back(self, tensor: Any) -> Matrix:
        return np.ascontiguousarray(tensor.cpu().numpy())


def algebra(device: str, *, needed: bool = True) -> Algebra:
    """What computes on that device; `auto` takes a CUDA device where there is one, if one is `needed`.

    torch, which takes seconds to load, is asked only where the machine shows a device. Raises ConfigError where
    `cuda` is wanted and there is none.
    """
    if device not in DEVICES:
        raise ConfigError(f"{device!r} is not one of {', '.join(DEVICES)}", where="device")
    if not needed or device == "cpu" or (device == "auto" and not Path("/dev/nvidiactl").exists()):
        return Lapack()
    import torch

    if torch.cuda.is_available():
        return Torch("cuda")
    if device == "cuda":
        raise ConfigError("torch sees no CUDA device", where="device", mend="Say cpu or auto")
    return Lapack()
