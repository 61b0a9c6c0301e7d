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
        """The rows at `indices` (integers, any order), as a new Examples.

        From batch to batch: Arrow's own `take` copies all of a column of lists first, and ends at 2 GiB of text.
        """
        import numpy as np

        rows, batches = np.asarray(indices, np.int64), self.table.to_batches()
        starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
        parts = [_taken(batches, starts, rows[first : first + BATCH]) for first in range(0, len(rows), BATCH)]
        return Examples(pa.concat_tables([self.table.schema.empty_table(), *parts]))

    def column(self, name: str) -> list[Any]:
        return self.table.column(name).to_pylist()

    def rows(self, batch_size: int = 1000) -> Iterator[dict[str, Any]]:
        for batch in self.table.to_batches(max_chunksize=batch_size):
            yield from batch.to_pylist()

    def token_counts(self) -> tuple[Any, Any]:
        """Two int64 arrays [N]: all tokens of each row, and those that carry loss."""
        import numpy as np
        import pyarrow.compute as pc

        counts = [np.zeros((2, 0), np.int64)]
        for mask in self.table.column("assistant_mask").chunks:
            lengths = pc.list_value_length(mask).to_numpy().astype(np.int64)
            said = np.cumsum(pc.list_flatten(mask).to_numpy(zero_copy_only=False), dtype=np.int64)
            total, ends = np.append(0, said), np.cumsum(lengths)
            counts.append(np.stack([lengths, total[ends] - total[ends - lengths]]))
        lengths_N, said_N = np.concatenate(counts, axis=1)
        return lengths_N, said_N

    def save(self, path: Path, rows: Sequence[int] | Any | None = None) -> None:
        """Write an Arrow IPC file of all rows, or of those at `rows`; in memory is a batch.

        The same rows give the same bytes, whatever they were cut from.
        """
        with RowWriter(path, self.table.schema) as writer:
            for start in range(0, len(self) if rows is None else len(rows), BATCH):
                part = (
                    Examples(self.table.slice(start, BATCH))
                    if rows is None
                    else self.take(rows[start : start + BATCH])
                )
                writer.add(part.table)

    @classmethod
    def open(cls, path: Path) -> Examples:
        """Memory-map an Arrow IPC file."""
        return cls(pa.ipc.open_file(pa.memory_map(str(path))).read_all())


def _taken(batches: Sequence[pa.RecordBatch], starts: Any, rows: Any) -> pa.Table:
    """At most BATCH rows, in any order, out of record batches of which each begins at `starts`."""
    import numpy as np

    order = np.argsort(rows, kind="stable")
    sorted_rows = rows[order]
    if len(rows) and not (sorted_rows[0] >= 0 and sorted_rows[-1] < starts[-1]):
        raise IndexError(f"rows {sorted_rows[0]} to {sorted_rows[-1]} of {starts[-1]}")
    cuts = np.searchsorted(sorted_rows, starts)
    taken = [
        batches[int(one)].take(pa.array(sorted_rows[cuts[one] : cuts[one + 1]] - starts[one]))
        for one in np.flatnonzero(np.diff(cuts))
    ]
    table = pa.Table.from_batches(taken)
    if (np.diff(order) == 1).all():
        return table
    places = np.empty(len(rows), np.int64)
    places[order] = np.arange(len(rows))
    return table.combine_chunks().take(pa.array(places))


class RowWriter:
    """Writes an Arrow IPC file of rows as they come, BATCH in each record batch however they were handed over.

    A slice's buffers carry bits of its neighbours, and Arrow writes them: each batch is copied first.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._parts: list[pa.Table] = []
        self._waiting = 0
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, schema)

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._waiting:
            self._write(self._waiting)
        self._writer.close()
        self._sink.close()

    def add(self, table: pa.Table) -> None:
        self._parts.append(table)
        self._waiting += len(table)
        self.rows += len(table)
        while self._waiting >= BATCH:
            self._write(BATCH)

    def _write(self, count: int) -> None:
        whole = pa.concat_tables(self._parts)
        part = whole.slice(0, count)
        self._writer.write_table(part.take(pa.array(range(count), pa.int64())).combine_chunks())
        self._parts, self._waiting = [whole.slice(count)], self._waiting - count


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
