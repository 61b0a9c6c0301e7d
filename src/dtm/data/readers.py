"""Data files: JSON, JSON Lines, CSV and TSV (each plain, gzip or zstandard), Parquet, Arrow.

What a file is, its first bytes say; its suffix decides only between shapes that begin alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from dtm.data.rows import READERS, BrokenRow, Tell
from dtm.data.unpack import head, is_packed
from dtm.foundations.errors import DataError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
PACKED = (".gz", ".gzip", ".zst", ".zstd")
LINES = (".jsonl", ".ndjson")
SNIFFED = 20  # rows that decide what a file holds
LOOKED_AT = 200  # rows after which no more are waited for


def silent(count: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class DataFile:
    """A file whose kind is known; `name` is how the user knows it."""

    path: Path
    name: str
    kind: str  # a key of READERS

    def rows(self, tell: Tell = silent) -> Iterator[tuple[int, Any]]:
        """(line of the file, or number of the row, from 1) and the row: a JSON value or a BrokenRow.

        `tell` hears bytes as they are read, in all the file's size.
        """
        return READERS[self.kind](self.path, tell)

    def first_rows(self) -> tuple[list[Any], list[tuple[int, BrokenRow]]]:
        """Some rows from the beginning, and the broken ones among them."""
        good: list[Any] = []
        broken = []
        for line, row in islice(self.rows(), LOOKED_AT):
            if isinstance(row, BrokenRow):
                broken.append((line, row))
            else:
                good.append(row)
            if len(good) == SNIFFED:
                break
        return good, broken


def opened(path: Path, name: str) -> DataFile:
    """The file with its kind; raises DataError for one that is empty or of no known kind."""
    start = head(path)
    if not start.strip(b"\xef\xbb\xbf \t\r\n\0"):
        if is_packed(path) and not start:
            return DataFile(path, name, "jsonl")  # broken from the first byte on, which its rows will say
        raise DataError("the file is empty", where=name)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("the file is UTF-16", where=name, mend="Save it as UTF-8")
    kind = _table_kind(path, start) or _text_kind(name, start)
    if kind is None:
        mend = "Give JSON, JSON Lines, CSV, TSV (also as .gz or .zst), Parquet or Arrow"
        raise DataError("this is no data file that can be read", where=name, mend=mend)
    return DataFile(path, name, kind)


def suffix(name: str) -> str:
    """The suffix that says the kind, below one that says the packing."""
    parts = Path(name.lower()).suffixes
    while parts and parts[-1] in PACKED:
        parts.pop()
    return parts[-1] if parts else ""


def _table_kind(path: Path, start: bytes) -> str | None:
    if start.startswith(b"PAR1"):
        kind = "parquet"
    elif start.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        kind = "arrow" if start.startswith(b"A") else "arrow_stream"
    else:
        return None
    return None if is_packed(path) else kind


def _text_kind(name: str, start: bytes) -> str | None:
    lines = start.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n")
    ending = suffix(name)
    if lines[0].startswith((b"{", b"[")):
        return _json_kind(lines, ending)
    if ending in (".csv", ".tsv"):
        return "csv"
    return "jsonl" if ending in LINES else None


def _json_kind(lines: list[bytes], ending: str) -> str:
    """JSON Lines or JSON: whether the first line is a whole value, and others follow."""
    first, more = lines[0].strip(), any(line.strip() for line in lines[1:])
    if _is_whole(first):
        return "jsonl" if more or (ending in LINES and first.startswith(b"{")) else "json"
    spread = first in (b"{", b"[") or first.startswith((b"[{", b"[ {"))
    return "jsonl" if ending in LINES and not spread else "json"


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
