"""Readers: one function a kind of file, from its path to numbered rows.

Each yields (line of the file, or number of the row, from 1) and the row: a JSON value, or a
`BrokenRow` for what stands where a row should. A broken row never ends its file.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from dtm.data import json_stream
from dtm.data.unpack import Damaged, chunks

BATCH = 1000

Tell = Callable[[int], None]


@dataclass(frozen=True)
class BrokenRow:
    """Something that stands where a row should, as text, and why it is none."""

    reason: str
    detail: str
    text: str = ""


def _lines(path: Path, tell: Tell) -> Iterator[tuple[int, str, str | None]]:
    """(number, text, damage) of lines; a line with damage is the last, cut off."""
    number, damage = 0, None
    held: list[bytes] = []  # of a line that has not ended yet
    source = chunks(path, tell)
    while True:
        try:
            chunk = next(source, None)
        except Damaged as error:
            chunk, damage = None, str(error)
        if chunk is None:
            break
        first, *others = chunk.split(b"\n")
        held.append(first)
        for later in others:
            number += 1
            yield number, _decoded(b"".join(held), number), None
            held = [later]
    if damage or any(held):
        yield number + 1, _decoded(b"".join(held), number + 1), damage


def _decoded(line: bytes, number: int) -> str:
    """Text in which bytes that are not UTF-8 are lone surrogates, so that one row pays for them."""
    text = line.decode("utf-8", "surrogateescape")
    return text.removeprefix("\ufeff") if number == 1 else text


def read_jsonl(path: Path, tell: Tell) -> Iterator[tuple[int, Any]]:
    decode = json_stream.decoder().decode
    for number, line, damage in _lines(path, tell):
        if damage:
            yield number, BrokenRow("damaged file", f"({damage})", line)
        elif line and not line.isspace():
            try:
                row = decode(line)
            except RecursionError:
                row = BrokenRow("broken JSON", "(nested too deep)", line)
            except ValueError as error:
                row = BrokenRow("broken JSON", f"({error})", line)
            yield number, row


def read_json(path: Path, tell: Tell) -> Iterator[tuple[int, Any]]:
    text = json_stream.Text(chunks(path, tell))
    number = 0
    try:
        for number, row in enumerate(json_stream.rows(text), 1):
            yield number, row
    except json_stream.Broken as broken:
        reason = "damaged file" if text.damage else "broken JSON"
        yield number + 1, BrokenRow(reason, f"({broken}; nothing behind it is read)", text.rest())


def read_csv(path: Path, tell: Tell) -> Iterator[tuple[int, Any]]:
    """Records as objects of texts; the header says the names and, by what it holds most, the delimiter."""
    csv.field_size_limit(
        max(csv.field_size_limit(), 1 << 27)
    )  # for the process; 128 KiB refuses long answers
    damages: list[tuple[int, str]] = []
    lines = _whole_lines(path, tell, damages)
    leading = _through_header(lines)
    delimiter = max(",\t;", key="".join(leading).count)
    records = csv.reader(chain(leading, lines), delimiter=delimiter, strict=True)
    names: list[str] = []
    while True:
        line = records.line_num + 1
        try:
            record = next(records, None)
        except csv.Error as error:
            yield line, BrokenRow("broken CSV", f"({error})")
            continue
        if record is None:
            break
        if not names:
            names = record
        elif len(record) == len(names):
            yield line, dict(zip(names, record, strict=True))
        elif record:
            detail = f"({len(record)} fields where the header has {len(names)})"
            yield line, BrokenRow("broken CSV", detail, delimiter.join(record))
    for line, damage in damages:
        yield line, BrokenRow("damaged file", f"({damage})")


def _through_header(lines: Iterator[str]) -> list[str]:
    """The blank lines at the top and the first that is not blank."""
    leading = []
    for line in lines:
        leading.append(line)
        if not line.isspace():
            break
    return leading


def _whole_lines(path: Path, tell: Tell, damages: list[tuple[int, str]]) -> Iterator[str]:
    for number, line, damage in _lines(path, tell):
        if damage:
            damages.append((number, damage))
        else:
            yield line + "\n"


def read_parquet(path: Path, tell: Tell) -> Iterator[tuple[int, Any]]:
    import pyarrow.parquet as parquet

    def batches() -> Iterator[tuple[float, Any]]:
        done = 0
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                done += batch.num_rows
                yield done / file.metadata.num_rows, batch

    return _read_table(path, tell, batches)


def read_arrow(path: Path, tell: Tell) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa

    def batches() -> Iterator[tuple[float, Any]]:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            for index in range(file.num_record_batches):
                yield (index + 1) / file.num_record_batches, file.get_batch(index)

    return _read_table(path, tell, batches)


def read_arrow_stream(path: Path, tell: Tell) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa

    def batches() -> Iterator[tuple[float, Any]]:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            for batch in stream:
                yield source.tell() / source.size(), batch

    return _read_table(path, tell, batches)


def _read_table(
    path: Path, tell: Tell, batches: Callable[[], Iterator[tuple[float, Any]]]
) -> Iterator[tuple[int, Any]]:
    """Rows of batches that come with the share of the file that ends with them."""
    import pyarrow as pa

    size, told, number = path.stat().st_size, 0, 0
    try:
        for share, batch in batches():
            for start in range(0, batch.num_rows, BATCH):
                for row in batch.slice(start, BATCH).to_pylist():
                    number += 1
                    yield number, row
            tell(int(size * share) - told)
            told = int(size * share)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        yield number + 1, BrokenRow("damaged file", f"({error}; nothing behind it is read)")
    tell(size - told)


READERS: dict[str, Callable[[Path, Tell], Iterator[tuple[int, Any]]]] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "csv": read_csv,
    "parquet": read_parquet,
    "arrow": read_arrow,
    "arrow_stream": read_arrow_stream,
}
