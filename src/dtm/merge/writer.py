"""The output's bytes, each at its final place from the start; a file has its final name only when it is whole.

A journal remembers which plan the half-written files belong to, so that a merge that was killed goes on after
its last whole file. `config.json` comes after the weights: until then nothing takes the folder for a model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ResourceError
from dtm.foundations.files import canonical, read_json, sync_folder, text_digest, write_json
from dtm.merge.planning import Plan
from dtm.merge.shards import Shard

JOURNAL, PARTIAL, MEASURES = ".merge-journal.json", ".partial", ".measures.json"


class Writer:
    """Writes the shards of a plan into a folder."""

    def __init__(self, folder: Path, plan: Plan, seed: int, shards: Sequence[Shard] | None = None) -> None:
        self.folder, self.plan, self.seed, self._descriptor = folder, plan, seed, -1
        self.shards = plan.shards if shards is None else shards  # those that are written here
        self.written: list[Path] = []

    @property
    def all_of_it(self) -> bool:
        """Whether the whole model is written here, and not a range of its shards."""
        return len(self.shards) == len(self.plan.shards)

    def finished(self) -> set[str]:
        """Names of shards that an earlier, killed run of the same plan has finished; other leftovers go."""
        digest = plan_digest(self.plan, self.seed)
        journal = self.folder / JOURNAL
        same = journal.exists() and read_json(journal) == digest
        whole = {
            shard.name for shard in self.shards if same and _size(self.folder / shard.name) == shard.size
        }
        for shard in self.shards:
            for name in (shard.name, shard.name + PARTIAL):
                if name not in whole:
                    (self.folder / name).unlink(missing_ok=True)
        if self.all_of_it:
            write_json(journal, digest)
            self.written.append(journal)
        return whole

    def begin(self, shard: Shard) -> None:
        """Open the shard, take its room on the disk, and write its header."""
        path = self.folder / (shard.name + PARTIAL)
        self.written += [path, self.folder / shard.name]
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with on_disk(path):
            if hasattr(os, "posix_fallocate") and shard.size:
                os.posix_fallocate(self._descriptor, 0, shard.size)
            self.write(0, shard.header)

    def write(self, offset: int, data: Any) -> None:
        """Put bytes at their place in the open shard; safe from any thread."""
        view = memoryview(data).cast("B")
        while len(view):
            done = os.pwrite(self._descriptor, view, offset)
            view, offset = view[done:], offset + done

    def end(self, shard: Shard) -> None:
        """Flush and rename: the file is whole."""
        self.close()
        os.replace(self.folder / (shard.name + PARTIAL), self.folder / shard.name)

    def keep(self, shard: Shard, measures: Any) -> None:
        """Note what was measured in the open shard, for a run that goes on behind it."""
        path = self.folder / (shard.name + MEASURES)
        self.written.append(path)
        with on_disk(path):
            write_json(path, measures)

    def kept(self, name: str) -> Any:
        """What was measured in that finished shard; None where nothing was."""
        path = self.folder / (name + MEASURES)
        self.written.append(path)
        return read_json(path) if path.exists() else None

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def complete(self) -> None:
        """Drop the journal and what was noted beside it: everything is there."""
        for name in (JOURNAL, *(shard.name + MEASURES for shard in self.plan.shards)):
            (self.folder / name).unlink(missing_ok=True)
        sync_folder(self.folder)

    def discard(self) -> None:
        """Remove what was written, so that a failed merge leaves nothing that looks like a model."""
        self.close()
        for path in self.written:
            path.unlink(missing_ok=True)


class on_disk:
    """Turns the operating system's refusal to write into a ResourceError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, OSError) and not isinstance(error, ResourceError) and error.errno in _FULL:
            raise ResourceError(
                f"the merge could not be written ({error.strerror})", where=self.path,
                mend="Free some disk, or write elsewhere; what was written is removed",
            ) from None  # fmt: skip


_FULL = {28, 27, 122, 5}  # ENOSPC, EFBIG, EDQUOT, EIO


def plan_digest(plan: Plan, seed: int) -> str:
    """What the bytes of the output depend on: method, settings, layout, and the inputs by their stat."""
    inputs = sorted({one.path for job in plan.jobs for one in job.inputs})
    stats = [(str(path), (s := path.stat()).st_size, s.st_mtime_ns, s.st_ino) for path in inputs]
    weights = [(job.name, job.dtype, list(job.shape), job.treatment.name, job.weights_K.tolist(), repr(job.settings))
               for job in plan.jobs]  # fmt: skip
    return text_digest(canonical([plan.facts(), plan.treatment.bound.key, seed, stats, weights]))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def ensure_room(folder: Path, plan: Plan) -> None:
    """Raise ResourceError where the disk below which `folder` stands, or will, cannot hold the output."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < plan.bytes_out:
        raise ResourceError(
            f"the output takes {plan.bytes_out / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB free",
            where=folder, mend="Free some disk, or write elsewhere",
        )  # fmt: skip
