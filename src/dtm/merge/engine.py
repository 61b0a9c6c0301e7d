"""The engine: reads blocks, runs a method's passes and the method, writes blocks in their places.

Work is cut into blocks that depend on shapes alone, partial results are added in block order, and random numbers
depend on (seed, model, tensor, index): so the bytes are the same on any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dtm.foundations.errors import ModelError
from dtm.merge.algebra import algebra
from dtm.merge.arithmetic import Block
from dtm.merge.checkpoint import Files
from dtm.merge.direct import Direct, direct
from dtm.merge.findings import Findings
from dtm.merge.identity import identities
from dtm.merge.inspection import add, measure
from dtm.merge.jobs import KEEP, Job, MergedFactors
from dtm.merge.method import Pass, Place, Treatment, call, wants
from dtm.merge.planning import Plan
from dtm.merge.pool import Pool
from dtm.merge.precision import MERGED, encode
from dtm.merge.random import Random
from dtm.merge.shards import Shard, adapter_names
from dtm.merge.sources import Range, Reader
from dtm.merge.writer import Writer, on_disk

GROUP_BYTES = 256 << 20  # of inputs that pass through all passes together, still warm in the page cache
Progress = Callable[[int, int], None]


class Engine:
    """Runs one plan."""

    def __init__(
        self,
        plan: Plan,
        files: Files,
        threads: int,
        *,
        seed: int,
        allow_nonfinite: bool,
        progress: Progress | None,
        inspect: bool = False,
        device: str = "cpu",
    ) -> None:
        self.plan, self.seed = plan, seed
        self.allow_nonfinite = allow_nonfinite
        self.reader = Reader(files, allow_nonfinite)
        self.states: dict[str, tuple[Any, ...]] = {}
        self.findings = Findings(plan, inspect)
        self.algebra = algebra(device, needed=any(one.decomposes for one in _treatments(plan)))
        self.pool = Pool(threads)
        self.direct: dict[str, Direct] = {}  # of the tensors that are open
        drawn = any("random" in wants(one.bound.method.function) for one in _treatments(plan))
        self._known = identities(plan.jobs, files) if drawn else {}
        self._progress, self._done, self._total = progress, 0, 0

    def write(self, writer: Writer) -> None:
        """Make every shard of the writer's that is not there yet."""
        done = {name for name in writer.finished() if self.findings.recall(name, writer)}
        jobs = {job.name: job for job in self.plan.jobs}
        here = (jobs[name] for shard in writer.shards for name in shard.jobs)
        self._total = self.plan.passes * sum(job.count for job in here)
        if self.plan.spans_model:
            self._scan_model()
        try:
            for shard in writer.shards:
                if shard.name in done:
                    continue
                writer.begin(shard)
                with on_disk(writer.folder / shard.name):
                    for group in _groups([jobs[name] for name in shard.jobs]):
                        self._write_group(group, shard, writer)
                self.findings.keep(shard, writer)
                writer.end(shard)
        finally:
            self.pool.close()

    def _scan_model(self) -> None:
        """All passes of a method that gathers over the whole model."""
        jobs = [job for job in self.plan.jobs if job.treatment.passes and job.treatment.scope == "model"]
        for number, one in enumerate(jobs[0].treatment.passes):
            total: dict[str, Any] = {}
            for group in _groups(jobs):
                with self._opened(group):
                    for _, partial in self._scan(group, one):
                        add(total, partial)
            settled = self._settle(one, total, jobs[0], sum(job.count for job in jobs))
            for job in jobs:
                self.states[job.name] = (*self.states.get(job.name, ())[:number], settled)

    def _scan_tensors(self, group: Sequence[Job]) -> None:
        """All passes of the methods that gather over one tensor."""
        for number in range(max((len(job.treatment.passes) for job in group), default=0)):
            jobs = [j for j in group if len(j.treatment.passes) > number and j.treatment.scope == "tensor"]
            totals: dict[str, dict[str, Any]] = {job.name: {} for job in jobs}
            passes = {job.name: job.treatment.passes[number] for job in jobs}
            for job, partial in self._scan(jobs, passes):
                add(totals[job.name], partial)
            for job in jobs:
                settled = self._settle(passes[job.name], totals[job.name], job, job.count)
                self.states[job.name] = (*self.states.get(job.name, ()), settled)

    def _scan(self, jobs: Sequence[Job], one: Pass | dict[str, Pass]) -> Iterator[tuple[Job, dict[str, Any]]]:
        def scan(task: tuple[Job, list[Range]]) -> tuple[Job, dict[str, Any]]:
            job, span = task
            step = one[job.name] if isinstance(one, dict) else one
            total: dict[str, Any] = {}
            treatment = _scanned(job)
            for block in span:
                given = {**self._given(job, treatment, block), "total": total}
                add(total, call(step.scan, given, _scan_settings(job)) or {})
            return job, total

        tasks = [(job, span) for job in jobs for span in job.spans]
        for found, (_, span) in self.pool.ordered(scan, tasks):
            self._advance(sum(block.count for block in span))
            yield found

    def _settle(self, one: Pass, total: dict[str, Any], job: Job, count: int) -> Any:
        if one.settle is None:
            return total
        given = {
            "total": total,
            "weights_K": job.weights_K,
            "count": count,
            "state": self.states.get(job.name, ()),
        }
        return call(one.settle, given, _scan_settings(job))

    def _write_group(self, group: Sequence[Job], shard: Shard, writer: Writer) -> None:
        with self._opened(group):
            self._scan_tensors(group)
            opaque = [job for job in group if job.opaque]
            for job in opaque:
                writer.write(shard.slots[job.name].start, self._agreed(job))
            if self.plan.export == "adapter":
                for _ in self.pool.ordered(lambda job: self._write_factors(job, shard, writer), group):
                    pass
                return
            tasks = [(job, span) for job in group if not job.opaque for span in job.spans]

            def combine(task: tuple[Job, list[Range]]) -> dict[str, Any]:
                job, span = task
                data, measured = self._combine_span(job, span)
                writer.write(shard.slots[job.name].start + span[0].start * data.itemsize, data)
                return measured

            for measured, (job, span) in self.pool.ordered(combine, tasks):
                self.findings.add_measures(job, measured)
                self._advance(sum(block.count for block in span))
        for job in group:
            if job.treatment.scope == "tensor":
                self.states.pop(job.name, None)

    def _combine_span(self, job: Job, span: list[Range]) -> tuple[Any, dict[str, Any]]:
        """The merged values [n] of consecutive blocks as they are stored, and what was measured of them."""
        measured: dict[str, Any] = {}
        whole = Range(span[0].first, span[-1].last, span[0].columns)
        data = self.reader.buffer("out", whole.count, MERGED[job.dtype])
        if not self.findings.inspect and self._summed(job, whole, data):
            return data, measured
        for block in span:
            values = self.combined(job, block)
            first = block.start - whole.start
            _, finite = encode(values, job.dtype, data[first : first + block.count])
            if not finite:
                self._overflowed(job)
            if self.findings.inspect and job.treatment is not KEEP:
                add(measured, self._measured(job, block, values))
        return data, measured

    def _summed(self, job: Job, block: Range, data: Any) -> bool:
        """Merge in one go what is a weighted sum of stored tensors; False where it is something else."""
        treatment, short = job.treatment, self.direct.get(job.name)
        coefficients = treatment.declares("coefficients")
        if short is None or coefficients is None:
            return False
        given = {"weights_K": job.weights_K, "state": self.states.get(job.name, ())}
        weights_K = np.ascontiguousarray(call(coefficients, given, job.settings), np.float64)
        if not short.summed(block, weights_K, treatment.on_updates, data, job.dtype):
            self._overflowed(job)
        return True

    def _write_factors(self, job: Job, shard: Shard, writer: Writer) -> None:
        source = job.sources[0]
        assert isinstance(source, MergedFactors)
        present = next(part for part in source.parts if part)
        for name, values in zip(
            adapter_names(job.name, present.embedding), source.merged(self.reader), strict=True
        ):
            slot = shard.slots[name]
            data, _ = encode(np.ascontiguousarray(values).reshape(-1), slot.dtype)
            writer.write(slot.start, data)

    def combined(self, job: Job, block: Range) -> Block:
        """The merged values [n] of one block, fp32."""
        given = self._given(job, job.treatment, block)
        treatment = job.treatment
        if treatment.inner is not None:
            given["inner"] = _inner(treatment, job, given)
        result = call(treatment.bound.method.function, given, job.settings)
        result = np.asarray(result, np.float32).reshape(-1)
        if not treatment.on_updates:
            return result
        base = given["base"].reshape(-1)  # this thread's buffer, which nobody reads again
        return np.add(base, result, out=base)

    def _given(self, job: Job, treatment: Treatment, block: Range) -> dict[str, Any]:
        """What a method may ask for, with the blocks in the shape of its unit."""
        base, short = None, self.direct.get(job.name)
        if job.base is not None and job.reads_base:
            base = self.reader.buffer("base", block.count)
            if short is None:
                self.reader.rows(job.base, block, job.remap, base)
        shape = job.block_shape(block)
        given: dict[str, Any] = {
            "base": None if base is None else base.reshape(shape), "weights_K": job.weights_K, "depth": job.depth,
            "state": self.states.get(job.name, ()), "place": Place(job.name, block.start),
            "random": Random(self.seed, job.name, block.start, self._identities(job), block.count),
            "algebra": self.algebra,
        }  # fmt: skip
        if treatment is KEEP:
            return given
        blocks_K = self.reader.buffer("models", len(job.sources) * block.count).reshape(len(job.sources), -1)
        if short is not None:
            short.rows(block, base, treatment.on_updates, blocks_K)
        for source, out in zip(job.sources, blocks_K, strict=True) if short is None else ():
            if treatment.on_updates:
                source.update(self.reader, block, base, out)  # type: ignore[arg-type]
            else:
                source.weights(self.reader, block, base, out)
        given["updates_K" if treatment.on_updates else "models_K"] = blocks_K.reshape(
            len(job.sources), *shape
        )
        if job.statistics:
            given["statistics_K"] = self._statistics(job, block, shape)
        return given

    def _identities(self, job: Job) -> tuple[str, ...]:
        """What the tensor's random numbers are keyed by, one text a sub-model; empty where none are drawn."""
        return tuple(self._known[number] for number in job.models) if self._known else ()

    def _statistics(self, job: Job, block: Range, shape: tuple[int, ...]) -> Any:
        """Each sub-model's statistic: this block of it where it is shaped as the tensor, else the whole."""
        if job.treatment.unit == "tensor":
            return np.stack([self.reader.whole(stored) for stored in job.statistics])
        found = np.empty((len(job.statistics), block.count), np.float32)
        for stored, out in zip(job.statistics, found, strict=True):
            self.reader.values(stored, block.start, out)
        return found.reshape(-1, *shape)

    def _measured(self, job: Job, block: Range, merged: Block) -> dict[str, Any]:
        """How this block's updates lie to one another and to the result."""
        only = job.sources[0]
        sources = only.each if isinstance(only, MergedFactors) else job.sources
        blocks_K = np.empty((len(sources), block.count), np.float32)
        base: Block = np.zeros(block.count, np.float32)
        if job.base is not None:
            self.reader.rows(job.base, block, job.remap, base)
        for source, out in zip(sources, blocks_K, strict=True):
            source.weights(self.reader, block, base, out)
        start = base if job.base is not None else blocks_K.mean(axis=0, dtype=np.float64).astype(np.float32)
        return measure(blocks_K - start, merged - start)

    def _overflowed(self, job: Job) -> None:
        if not self.allow_nonfinite:
            raise ModelError(f"tensor {job.name!r} is not finite after merging: it overflows {job.dtype}",
                             mend="Choose a wider `dtype`, smaller weights, or --allow-nonfinite")  # fmt: skip

    def _agreed(self, job: Job) -> bytes:
        """The bytes of a tensor that is not of floats, which must be the same in all models."""
        stored = [one for one in (job.base, *(source.stored for source in job.sources)) if one is not None]
        first = self.reader.raw(stored[0])
        for other in stored[1:]:
            if self.reader.raw(other) != first:
                raise ModelError(f"tensor {job.name!r} ({job.dtype}) is not the same as in "
                                 f"{stored[0].path.parent.name}, and cannot be averaged", where=other.path)  # fmt: skip
        return first

    @contextmanager
    def _opened(self, jobs: Sequence[Job]) -> Iterator[None]:
        """The small parts of these tensors, adapters' factors, are in memory meanwhile."""
        try:
            self.reader.files.prefetch(one for job in jobs for one in job.inputs)
            if self.plan.export == "model":
                for job in jobs:
                    job.open(self.reader)
                    if job.treatment is not KEEP and (short := direct(job, self.reader)):
                        self.direct[job.name] = short
                    if self.findings.inspect and isinstance(job.sources[0], MergedFactors):
                        job.sources[0].open_each(self.reader, job.shape)
            yield
        finally:
            for job in jobs:
                self.direct.pop(job.name, None)
                self.findings.add_missed(job)
                job.close()

    def _advance(self, values: int) -> None:
        self._done += values
        if self._progress is not None:
            self._progress(self._done, self._total)


def _groups(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Consecutive jobs whose inputs are about GROUP_BYTES together."""
    group: list[Job] = []
    size = 0
    for job in jobs:
        group.append(job)
        size += sum(one.slot.nbytes for one in job.inputs)
        if size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _treatments(plan: Plan) -> Iterator[Treatment]:
    """The methods of a plan, and what they wrap."""
    for treatment in {id(job.treatment): job.treatment for job in plan.jobs}.values():
        yield treatment
        if treatment.inner is not None:
            yield treatment.inner


def _scanned(job: Job) -> Treatment:
    """Whose passes run over the models: the method's, or the wrapped method's."""
    return job.treatment.inner if job.treatment.streams_inner else job.treatment  # type: ignore[return-value]


def _scan_settings(job: Job) -> dict[str, Any]:
    return job.inner_settings if job.treatment.streams_inner else job.settings


def _inner(treatment: Treatment, job: Job, given: dict[str, Any]) -> Callable[[Any], Block]:
    """The wrapped method as a function of updates: with the engine's passes, or with its own in memory."""
    inner = treatment.inner
    assert inner is not None

    def streamed(updates_K: Block) -> Block:
        return call(inner.bound.method.function, {**given, "updates_K": updates_K}, job.inner_settings)

    def within(updates_K: Block) -> Block:
        from dtm.merge.memory import merge_updates

        return merge_updates(inner, updates_K, job.weights_K, job.inner_settings, given["random"])

    return streamed if treatment.streams_inner else within
