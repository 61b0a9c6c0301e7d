"""Stored values read by the compiled kernels at their addresses: the short way for tensors without adapters.

It takes the place of one source after the other where every source of a tensor is stored values and nothing else,
and does the same operations a value, so the bytes are the same. Without the compiled kernels there is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtm.foundations.tensor_files import ITEM_BYTES
from dtm.merge.arithmetic import Block, Weights
from dtm.merge.jobs import Job
from dtm.merge.kernels import kernels
from dtm.merge.sources import Range, Reader


class Direct:
    """One tensor's inputs as addresses, while their files are mapped."""

    def __init__(self, job: Job, reader: Reader) -> None:
        self.job, self.reader = job, reader
        self.stored = [source.stored for source in job.sources]
        views_K = [reader.files.view(one) for one in self.stored]  # type: ignore[arg-type]
        self._kept: list[Any] = views_K  # a copy, where a tensor is not aligned, lives as long as this
        self.starts_K = np.array([view.ctypes.data for view in views_K], np.uint64)
        self.widths_K = np.array([ITEM_BYTES[one.dtype] for one in self.stored], np.uint64)  # type: ignore[union-attr]
        codes = kernels().CODES
        self.dtypes_K = np.array([codes[one.dtype] for one in self.stored], np.int32)  # type: ignore[union-attr]
        self.base, self.base_width, self.base_dtype = 0, 0, "F32"
        if job.base is not None:
            view = reader.files.view(job.base)
            self._kept.append(view)
            self.base, self.base_width, self.base_dtype = view.ctypes.data, view.itemsize, job.base.dtype

    def rows(self, block: Range, base: Block | None, less: bool, rows_K: Block) -> None:
        """The sub-models' values into rows_K [K, n], less the base's if `less`; the base's into `base` [n]."""
        at = self.base + block.start * self.base_width
        wrong = kernels().decode_rows(self._at(block), self.dtypes_K, at, self.base_dtype, base, less, rows_K)
        if wrong >= 0:
            self.reader.refuse(self._input(wrong))

    def summed(self, block: Range, weights_K: Weights, less: bool, out: NDArray[Any], dtype: str) -> bool:
        """The weighted sum, of the updates if `less`, as stored values into `out`; whether all are finite."""
        at = self.base + block.start * self.base_width
        wrong = kernels().merge_sum(
            self._at(block), self.dtypes_K, weights_K, at, self.base_dtype, less, out, dtype
        )
        if 0 <= wrong <= len(self.stored):
            self.reader.refuse(self._input(wrong))
        return wrong < 0

    def _at(self, block: Range) -> NDArray[np.uint64]:
        return self.starts_K + self.widths_K * np.uint64(block.start)

    def _input(self, number: int) -> Any:
        return self.job.base if number == len(self.stored) else self.stored[number]


def direct(job: Job, reader: Reader) -> Direct | None:
    """The short way into a tensor's inputs, if there is one."""
    if not hasattr(kernels(), "decode_rows") or job.opaque or job.remap is not None or job.statistics:
        return None
    return Direct(job, reader) if job.sources and all(source.plain for source in job.sources) else None
