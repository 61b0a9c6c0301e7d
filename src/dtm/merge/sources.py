"""A sub-model's block of one tensor, in fp32: read, remapped, and with its adapter applied."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtm.foundations.errors import ModelError
from dtm.merge.adapter import Factors
from dtm.merge.arithmetic import Block
from dtm.merge.checkpoint import Files, Stored
from dtm.merge.precision import decode


@dataclass(frozen=True)
class Range:
    """Whole rows [first, last) of a tensor seen as [rows, columns]."""

    first: int
    last: int
    columns: int

    @property
    def start(self) -> int:
        return self.first * self.columns

    @property
    def count(self) -> int:
        return (self.last - self.first) * self.columns


@dataclass
class Remap:
    """Where the output's rows stand in a tensor with another vocabulary; -1: nowhere, take `fallback`'s."""

    rows: NDArray[np.int64]
    fallback: dict[int, Block] = field(default_factory=dict)  # while the tensor's group is open


class Reader:
    """Reads blocks as fp32 through buffers that each thread keeps; refuses NaN and infinity."""

    def __init__(self, files: Files, allow_nonfinite: bool = False) -> None:
        self.files, self.allow_nonfinite = files, allow_nonfinite
        self._local = threading.local()

    def buffer(self, name: str, count: int, dtype: Any = np.float32) -> NDArray[Any]:
        """An uninitialised array [count] that this thread reuses under that name."""
        kept = self._local.__dict__.get(name)
        if kept is None or kept.nbytes < count * np.dtype(dtype).itemsize:
            kept = np.empty(count * np.dtype(dtype).itemsize, np.uint8)
            setattr(self._local, name, kept)
        return kept[: count * np.dtype(dtype).itemsize].view(dtype)

    def values(self, stored: Stored, start: int, out: Block) -> None:
        """Values [start, start + n) of the flattened tensor into `out` [n]."""
        if not decode(self.files.view(stored)[start : start + out.size], stored.dtype, out):
            self.refuse(stored)

    def refuse(self, stored: Stored) -> None:
        """Raise for a tensor that is not finite, unless that is allowed."""
        if not self.allow_nonfinite:
            raise ModelError(
                f"tensor {stored.name!r} holds NaN or infinity", where=stored.path,
                mend="Mend that model, or go on with --allow-nonfinite",
            )  # fmt: skip

    def rows(self, stored: Stored, block: Range, remap: Remap | None, out: Block) -> None:
        """A block's values; with a `remap`, those of the rows that it names."""
        if remap is None:
            return self.values(stored, block.start, out)
        chosen, table = remap.rows[block.first : block.last], out.reshape(-1, block.columns)
        breaks = np.flatnonzero(np.diff(chosen) != 1) + 1
        for run in np.split(np.arange(chosen.size), breaks):
            if chosen[run[0]] < 0:  # runs break at every absent row, for -1 does not follow itself
                table[run[0]] = remap.fallback[block.first + int(run[0])]
                continue
            self.values(stored, int(chosen[run[0]]) * block.columns, table[run[0] : run[-1] + 1].reshape(-1))

    def whole(self, stored: Stored) -> Block:
        """A whole tensor as fp32, newly allocated."""
        out = np.empty(prod(stored.shape), np.float32)
        self.values(stored, 0, out)
        return out.reshape(stored.shape)

    def raw(self, stored: Stored) -> bytes:
        """A tensor's bytes as they are."""
        return self.files.view(stored).tobytes()


@dataclass
class Product:
    """A low-rank update in memory: left [rows, r] @ right [r, columns], both fp32."""

    left: Block
    right: Block

    def into(self, block: Range, out: Block) -> None:
        table = out.reshape(-1, block.columns)
        np.matmul(self.left[block.first : block.last], self.right, out=table)


@dataclass
class Source:
    """What one sub-model is in one tensor: the base's or its own values, and what an adapter adds."""

    stored: Stored | None = None  # None: the base's values
    factors: Factors | None = None
    bias: tuple[Stored, float] | None = None
    remap: Remap | None = None  # for another tokenizer
    product: Product | None = None  # of `factors`, while the tensor's group is open
    magnitude: Block | None = None

    @property
    def changes(self) -> bool:
        return not (self.stored is None and self.factors is None and self.bias is None)

    @property
    def inputs(self) -> list[Stored]:
        """All that is read for it."""
        pair = [self.factors.A, self.factors.B, self.factors.magnitude] if self.factors else []
        return [one for one in (self.stored, *pair, self.bias[0] if self.bias else None) if one is not None]

    @property
    def plain(self) -> bool:
        """Whether it is stored values and nothing else."""
        return self.stored is not None and not (self.factors or self.bias or self.remap)

    def open(self, reader: Reader, shape: tuple[int, ...]) -> None:
        """Load the factors, the scale in the left one."""
        if self.factors is None:
            return
        A, B = pair(reader, self.factors)
        B = B * np.float32(self.factors.scale)
        self.product = Product(np.ascontiguousarray(A.T), np.ascontiguousarray(B.T)) \
            if self.factors.transposed(shape) else Product(B, A)  # fmt: skip
        if self.factors.magnitude is not None:
            self.magnitude = reader.whole(self.factors.magnitude).reshape(-1)

    def close(self) -> None:
        self.product = self.magnitude = None

    def weights(self, reader: Reader, block: Range, base: Block | None, out: Block) -> None:
        """The sub-model's own values into `out` [n]."""
        if self.stored is not None:
            reader.rows(self.stored, block, self.remap, out)
        else:
            out[:] = base
        if self.product is not None:
            added = reader.buffer("product", block.count)
            self.product.into(block, added)
            out += added
        if self.bias is not None:
            out += self._bias(reader, block)
        if self.magnitude is not None:
            table = out.reshape(-1, block.columns)
            norms = np.sqrt(np.einsum("rc,rc->r", table, table, dtype=np.float64))
            table *= (self.magnitude[block.first : block.last] / norms).astype(np.float32)[:, None]

    def update(self, reader: Reader, block: Range, base: Block, out: Block) -> None:
        """The sub-model less the base into `out` [n]: for an adapter the product itself, not a difference."""
        if self.stored is not None or self.magnitude is not None:
            self.weights(reader, block, base, out)
            out -= base
        elif self.product is not None:
            self.product.into(block, out)
        elif self.bias is not None:
            out[:] = self._bias(reader, block)
        else:
            out[:] = 0

    def _bias(self, reader: Reader, block: Range) -> Block:
        stored, scale = self.bias  # type: ignore[misc]
        values = reader.buffer("bias", block.count)
        reader.values(stored, block.start, values)
        values *= np.float32(scale)
        return values


def pair(reader: Reader, factors: Factors) -> tuple[Block, Block]:
    """A [r, in] and B [out, r] as fp32 matrices, unscaled."""
    A, B = reader.whole(factors.A), reader.whole(factors.B)
    return A.reshape(factors.rank, -1), B.reshape(-1, factors.rank)
