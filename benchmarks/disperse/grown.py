"""Rows in any number, grown from a few: halves of different rows of one source, put together anew.

    python benchmarks/disperse/grown.py TARGET.arrow ROWS [DATA]

DATA is a folder of instruction data; without one the testbed's mixture is generated. The rows stay in the scratch
folder: they are no part of the project.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dtm.data import load, resolve
from dtm.foundations.signals.text import first_turns
from dtm.foundations.types import MESSAGE, SCHEMA, TOKENS, Examples, canonical_id

BATCH = 10_000  # rows
LETTERS = 4  # of a row for each of the stand-ins that are its tokens
TESTBED_ROWS = 20_000


def grow(target: Path, count: int, data: Path | None, seed: int = 0) -> None:
    """An Arrow file of `count` rendered rows; a longer one begins with the rows of a shorter."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = parents(data, Path(folder))
    halves = [_halves(seeds, role) for role in ("user", "assistant")]
    schema = pa.schema([*SCHEMA, *TOKENS])
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in _batches(seeds.table["source"].combine_chunks(), halves, count, seed):
            writer.write_batch(batch)


def parents(data: Path | None, scratch: Path) -> Examples:
    """All rows of the folder's files, or of a testbed made in `scratch`; of a talk only the first turns are used."""
    if data is None:
        from dtm.testbed import generate

        generate(scratch / "testbed", rows=TESTBED_ROWS)
        data = scratch / "testbed" / "mixture"
    files = sorted(path for path in data.iterdir() if ".jsonl" in path.name and "preference" not in path.name)
    entries = [{"path": str(path), "source": path.name.split(".")[0]} for path in files]
    return load(resolve(entries, data), 0, scratch / "dropped.jsonl")[0]


def _halves(seeds: Examples, role: str) -> tuple[pa.Array, pa.Array]:
    """Each first turn of that role, cut at the space nearest to its middle."""
    pairs = [_cut(text) for text in first_turns(seeds, role)]
    first, second = zip(*pairs, strict=True)
    return pa.array(first), pa.array(second)


def _cut(text: str) -> tuple[str, str]:
    middle = text.find(" ", len(text) // 2)
    return (text, "") if middle < 0 else (text[:middle], text[middle + 1 :])


def _batches(
    sources: pa.Array, halves: list[tuple[pa.Array, pa.Array]], count: int, seed: int
) -> Iterator[pa.RecordBatch]:
    names = sources.to_numpy(zero_copy_only=False)
    order = np.argsort(names, kind="stable")
    start = np.searchsorted(names[order], names)
    size = np.searchsorted(names[order], names, side="right") - start
    for number, first_row in enumerate(range(0, count, BATCH)):
        draw = np.random.default_rng([seed, number])
        one = draw.integers(len(names), size=BATCH)
        others = [order[start[one] + draw.integers(1 << 40, size=BATCH) % size[one]] for _ in range(2)]
        texts = [
            pc.binary_join_element_wise(
                first.take(pa.array(one)), second.take(pa.array(other)), " "
            ).to_pylist()
            for (first, second), other in zip(halves, others, strict=True)
        ]
        batch = _batch(*texts, sources.take(pa.array(one)), first_row, draw)
        yield batch.slice(0, min(BATCH, count - first_row))


def _batch(
    asked: list[str], said: list[str], sources: pa.Array, first: int, draw: np.random.Generator
) -> pa.RecordBatch:
    """Rows as loading and rendering leave them; their token ids are drawn."""
    turns = [
        [{"role": "user", "content": one}, {"role": "assistant", "content": other}]
        for one, other in zip(asked, said, strict=True)
    ]
    ids = pa.array([f"{canonical_id(turn)}#{first + row}" for row, turn in enumerate(turns)])  # ids differ
    prompt, response = (
        np.array([len(text) // LETTERS + 1 for text in texts], np.int32) for texts in (asked, said)
    )
    ends = pa.array(np.concatenate([[0], np.cumsum(prompt + response)]).astype(np.int32))
    spoken = np.tile([False, True], len(turns)).repeat(np.column_stack([prompt, response]).ravel())
    tokens = draw.integers(50_000, size=len(spoken), dtype=np.int32)
    columns = [
        ids, sources, pa.array(turns, pa.list_(MESSAGE)), pa.nulls(len(turns), pa.string()), ids,
        pa.array(["{}"] * len(turns)), pa.ListArray.from_arrays(ends, pa.array(tokens)),
        pa.ListArray.from_arrays(ends, pa.array(spoken)),
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*SCHEMA, *TOKENS]))


if __name__ == "__main__":
    grow(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
