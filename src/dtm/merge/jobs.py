"""A job: one tensor to write, with all that the engine needs to make it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtm.foundations.registry import Bound, Method
from dtm.merge.adapter import Factors
from dtm.merge.arithmetic import Block, Weights
from dtm.merge.checkpoint import Stored
from dtm.merge.method import Treatment, call, wants
from dtm.merge.methods.lora_cat import lora_cat, missed
from dtm.merge.sources import Product, Range, Reader, Remap, Source, pair

BLOCK = 1 << 17  # values: few enough for the second-level cache, many enough for calls to cost nothing
PRODUCT_BLOCK = 1 << 20  # where an adapter's product is formed: a matrix product of few rows is slow
SPAN = 1 << 20  # values that one task takes: many times what a thread switch costs


def _keep(base: Block) -> Block:
    return base


def _apply(updates_K: Block) -> Block:
    return updates_K[0]


KEEP = Treatment(Bound(Method("merge", "keep", _keep), {}))  # no sub-model changes the tensor
APPLY = Treatment(Bound(Method("merge", "apply", _apply), {}))  # the base plus one update, already merged


@dataclass
class Job:
    """One tensor to write; `opaque` ones (integers, flags) are copied and must agree in all models."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    treatment: Treatment
    base: Stored | None
    sources: list[Source]
    models: tuple[int, ...] = ()  # the numbers of the sub-models that the sources are of
    weights_K: Weights = field(default_factory=lambda: np.ones(1))
    settings: dict[str, Any] = field(default_factory=dict)
    inner_settings: dict[str, Any] = field(default_factory=dict)
    depth: float = 0.0
    statistics: list[Stored] = field(default_factory=list)
    opaque: bool = False
    remap: Remap | None = None  # of the base, for another tokenizer

    @property
    def count(self) -> int:
        return prod(self.shape)

    @property
    def inputs(self) -> list[Stored]:
        """All that one reading reads."""
        base = [self.base] if self.base and self.reads_base else []
        return [*base, *(one for source in self.sources for one in source.inputs), *self.statistics]

    @cached_property
    def reads_base(self) -> bool:
        """Whether the base's values are needed beyond what sub-models bring themselves."""
        wanted = wants(self.treatment.bound.method.function)
        return (
            self.opaque
            or self.treatment.needs_base
            or "base" in wanted
            or any(source.stored is None for source in self.sources)
        )

    @cached_property
    def columns(self) -> int:
        """The width of the table [rows, columns] as which blocks are cut from the tensor."""
        if len(self.shape) < 2:
            return self.count if self.treatment.unit == "row" else 1
        return prod(self.shape[1:]) if self.factored else self.shape[-1]

    @property
    def factored(self) -> bool:
        """Whether an adapter's product is formed for it."""
        return any(source.factors or isinstance(source, MergedFactors) for source in self.sources)

    @cached_property
    def blocks(self) -> list[Range]:
        """The tensor in blocks of whole rows, in order; fixed by its shape, whatever the threads."""
        if not self.count:
            return []
        rows = self.count // self.columns
        values = PRODUCT_BLOCK if self.factored else BLOCK
        step = rows if self.treatment.unit == "tensor" else max(1, values // self.columns)
        return [Range(first, min(first + step, rows), self.columns) for first in range(0, rows, step)]

    def open(self, reader: Reader) -> None:
        """Bring what is small into memory: adapters' factors, and rows for tokens that a model lacks."""
        fill_absent_rows(self, reader)
        for source in self.sources:
            source.open(reader, self.shape)

    def close(self) -> None:
        for source in self.sources:
            source.close()

    @property
    def spans(self) -> list[list[Range]]:
        count = max(1, SPAN // self.blocks[0].count) if self.blocks else 1
        return [self.blocks[first : first + count] for first in range(0, len(self.blocks), count)]

    def block_shape(self, block: Range) -> tuple[int, ...]:
        """The shape in which the method sees a block."""
        unit = self.treatment.unit
        if unit == "tensor":
            return self.shape
        return (block.last - block.first, block.columns) if unit == "row" else (block.count,)


def fill_absent_rows(job: Job, reader: Reader) -> None:
    """For each token that some model lacks: the base's row, or the mean of the rows of those that have it."""
    pairs = [(source.stored, source.remap) for source in job.sources if source.stored and source.remap]
    if job.base is not None and job.remap is not None:
        pairs.insert(0, (job.base, job.remap))
    absent = sorted({int(row) for _, remap in pairs for row in np.flatnonzero(remap.rows < 0)})
    width = job.shape[-1] if absent else 0
    for row in absent:
        found = []
        for number, (stored, remap) in enumerate(pairs):
            if remap.rows[row] >= 0:
                values = np.empty(width, np.float32)
                reader.values(stored, int(remap.rows[row]) * width, values)
                found.append(values)
                if number == 0 and job.remap is not None:
                    break  # the base has it
        mean: Any = np.mean(found, axis=0, dtype=np.float64) if found else np.zeros(width)
        for _, remap in pairs:
            remap.fallback[row] = mean.astype(np.float32)


@dataclass
class MergedFactors(Source):
    """Several adapters in one tensor, merged factor by factor before they meet the base."""

    treatment: Treatment = APPLY
    parts: list[Factors | None] = field(default_factory=list)  # None: that adapter leaves the tensor alone
    weights_K: NDArray[np.float64] = field(default_factory=lambda: np.ones(1))
    settings: dict[str, Any] = field(default_factory=dict)
    each: list[Source] = field(
        default_factory=list
    )  # the adapters one by one, while the tensor's group is open
    missed: tuple[float, float] | None = None  # |result - exact sum|^2 and |exact sum|^2, once it was merged

    @property
    def changes(self) -> bool:
        return True

    @property
    def inputs(self) -> list[Stored]:
        return [one for part in self.parts if part for one in (part.A, part.B)]

    @property
    def rank(self) -> int:
        """The rank of the merged factors, as the method declares it (the sum of the ranks by default)."""
        ranks = [part.rank if part else 0 for part in self.parts]
        return self.treatment.declares("rank", lambda ranks, settings: sum(ranks))(ranks, self.settings)

    def merged(self, reader: Reader) -> tuple[Block, Block]:
        """A [r, in] and B [out, r] of the merged adapter, its scale 1; one that lacks them counts as rank 0."""
        present = next(part for part in self.parts if part)
        across, down = prod(present.A.shape[1:]), present.B.shape[0]
        nothing = np.zeros((0, across), np.float32), np.zeros((down, 0), np.float32)
        pairs = [pair(reader, part) if part else nothing for part in self.parts]
        given = {
            "A_K": [A for A, _ in pairs],
            "B_K": [B for _, B in pairs],
            "scale_K": np.array([part.scale if part else 1.0 for part in self.parts]),
            "weights_K": self.weights_K,
        }
        A, B = call(self.treatment.bound.method.function, given, self.settings)
        if self.treatment.declares("approximates"):
            exact = lora_cat(**given, normalize=self.settings.get("normalize", True))
            self.missed = missed(A, B, *exact)
        return A, B

    def open(self, reader: Reader, shape: tuple[int, ...]) -> None:
        A, B = self.merged(reader)
        present = next(part for part in self.parts if part)
        turned = present.transposed(shape)
        left, right = (A.T, B.T) if turned else (B, A)
        self.product = Product(np.ascontiguousarray(left), np.ascontiguousarray(right))

    def open_each(self, reader: Reader, shape: tuple[int, ...]) -> None:
        """Load the adapters one by one as well, to look into what they do."""
        self.each = [Source(factors=part) for part in self.parts]
        for source in self.each:
            source.open(reader, shape)

    def close(self) -> None:
        super().close()
        self.each = []
