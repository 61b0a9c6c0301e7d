"""Where every tensor of the output will stand: files split as the base's, headers written beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from dtm.foundations.tensor_files import Slot, build_header
from dtm.merge.checkpoint import SINGLE, Checkpoint
from dtm.merge.jobs import Job, MergedFactors

METADATA = {"format": "pt"}


@dataclass(frozen=True)
class Shard:
    """One file to write: its header, and a slot a tensor."""

    name: str
    header: bytes
    slots: dict[str, Slot]
    jobs: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.header) + sum(slot.nbytes for slot in self.slots.values())


def shards_like(reference: Checkpoint, jobs: Sequence[Job]) -> list[Shard]:
    """Files as the reference has them; a tensor that it lacks goes into the last."""
    files = reference.files
    number = {name: files.index(tensor.path) for name, tensor in reference.tensors.items()}
    parts: list[list[Job]] = [[] for _ in files]
    for job in jobs:
        parts[number.get(job.name, len(files) - 1)].append(job)
    parts = [part for part in parts if part]
    names = [f"model-{i:05}-of-{len(parts):05}.safetensors" for i in range(1, len(parts) + 1)]
    return [
        _shard(name, [(job.name, job.dtype, job.shape) for job in part], part)
        for name, part in zip(names if len(parts) > 1 else [SINGLE], parts, strict=True)
    ]


def adapter_names(name: str, embedding: bool) -> tuple[str, str]:
    """The names of an adapter's factors for the tensor `name`."""
    module = "base_model.model." + name.removesuffix(".weight")
    if embedding:
        return f"{module}.lora_embedding_A", f"{module}.lora_embedding_B"
    return f"{module}.lora_A.weight", f"{module}.lora_B.weight"


def adapter_shard(jobs: Sequence[Job], dtype: str) -> Shard:
    """The one file of an adapter: two factors a job."""
    from dtm.merge.adapter import WEIGHTS

    tensors = []
    for job in jobs:
        source = job.sources[0]
        assert isinstance(source, MergedFactors)
        present = next(part for part in source.parts if part)
        rank = source.rank
        one, other = adapter_names(job.name, present.embedding)
        tensors += [(one, dtype, (rank, *present.A.shape[1:]))]
        tensors += [(other, dtype, (present.B.shape[0], rank, *present.B.shape[2:]))]
    return _shard(WEIGHTS, tensors, jobs)


def _shard(name: str, tensors: list[tuple[str, str, tuple[int, ...]]], jobs: Sequence[Job]) -> Shard:
    header, slots = build_header(tensors, METADATA)
    assert sum(prod(shape) for _, _, shape in tensors) == sum(slot.count for slot in slots.values())
    return Shard(name, header, slots, tuple(job.name for job in jobs))
