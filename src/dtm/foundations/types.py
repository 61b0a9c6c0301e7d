"""What the stages hand to one another: `Examples` and `Model`.

Shape suffixes: _N examples, _K models or portions, _T tokens, _V vocabulary, _D embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMA = pa.schema([
    ("id", pa.string()),            # sha256 of the canonical messages, hex; a repeat has "#n" behind it
    ("source", pa.string()),        # which entry of the run file the row came from
    ("messages", pa.list_(MESSAGE)),
    ("parent", pa.string()),        # id of the row that this one was made from, or null
    ("family", pa.string()),        # rows of one family never part in a split; a row's own id by default
    ("meta", pa.string()),          # JSON object: what else the file said of the row
])  # fmt: skip
BATCH = 10_000  # rows of a record batch on disk
TOKENS = pa.schema([("input_ids", pa.list_(pa.int32())), ("assistant_mask", pa.list_(pa.bool_()))])


@dataclass(frozen=True)
class Examples:
    """An Arrow table of rows with SCHEMA's columns, and after rendering those of TOKENS as well.

    Never a Python list of a million rows: `take` selects by index, `rows` streams dictionaries.
    """

    table: pa.Table

    def __post_init__(self) -> None:
        missing = set(SCHEMA.names) - set(self.table.column_names)
        if missing:
            raise TypeError(f"examples lack the columns {sorted(missing)}")

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def rendered(self) -> bool:
        return "input_ids" in self.table.column_names

    def take(self, indices: Sequence[int] | Any) -> Examples:
        """The rows at `indices` (integers, any order), as a new Examples."""
        return Examples(self.table.take(pa.array(indices, pa.int64())))

    def column(self, name: str) -> list[Any]:
        return self.table.column(name).to_pylist()

    def rows(self, batch_size: int = 1000) -> Iterator[dict[str, Any]]:
        for batch in self.table.to_batches(max_chunksize=batch_size):
            yield from batch.to_pylist()

    def token_counts(self) -> tuple[Any, Any]:
        """Two int64 arrays [N]: all tokens of each row, and those that carry loss."""
        import numpy as np
        import pyarrow.compute as pc

        lengths = pc.list_value_length(self.table.column("input_ids")).to_numpy().astype("int64")
        flat = pc.list_flatten(self.table.column("assistant_mask")).to_numpy()
        total = np.concatenate([[0], np.cumsum(flat, dtype="int64")])
        ends = np.cumsum(lengths)
        return lengths, total[ends] - total[ends - lengths]

    def save(self, path: Path) -> None:
        """Write an Arrow IPC file; the same rows give the same bytes, whatever they were cut from.

        A slice's buffers carry bits of its neighbours, and Arrow writes them: each batch is copied first.
        """
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self.table.schema) as writer:
            for start in range(0, len(self), BATCH):
                part = self.table.slice(start, BATCH)
                writer.write_table(part.take(pa.array(range(len(part)), pa.int64())).combine_chunks())

    @classmethod
    def open(cls, path: Path) -> Examples:
        """Memory-map an Arrow IPC file."""
        return cls(pa.ipc.open_file(pa.memory_map(str(path))).read_all())


@dataclass(frozen=True)
class Model:
    """A folder with a checkpoint, or a PEFT adapter (`adapter_of` its base); `digest` is of the content."""

    name: str
    folder: Path
    digest: str
    adapter_of: Model | None = None
    tokens: int = 0  # that carried loss, trained to make this model, its parts included
    steps: int = 0
    checkpoints: tuple[Model, ...] = ()  # of its training, the last one being itself
    parts: tuple[Model, ...] = ()  # of what is only ever evaluated: an ensemble has no weights of its own
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> Model:
        """The dense model under it: itself unless it is an adapter."""
        return self.adapter_of.base if self.adapter_of else self


def canonical_id(messages: Sequence[dict[str, str]]) -> str:
    """sha256, hex, of the messages in canonical form: role, NUL, content, NUL for each."""
    digest = hashlib.sha256()
    for message in messages:
        digest.update(f"{message['role']}\0{message['content']}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
