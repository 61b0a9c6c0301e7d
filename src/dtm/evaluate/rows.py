"""Reading a benchmark file: JSON Lines, plain or gzipped, or CSV with a header."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dtm.foundations.errors import DataError, MissingInput

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz")
SHOWN = 5  # bad rows that one message lists


class Lines:
    """The rows of a file with their line numbers, and the digest of what it says (packed or not)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = _content(path)
        self.digest = hashlib.sha256(content).hexdigest()
        self.bad: list[tuple[int, str]] = []
        try:
            decoded = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise DataError("this is not UTF-8 text", where=f"{path}:{line}") from None
        reader = _csv if ".csv" in path.suffixes else _json
        self.rows: list[tuple[int, dict[str, Any]]] = list(reader(decoded, self.bad))
        if not self.rows and not self.bad:
            raise DataError("the file holds no row", where=path)

    def refuse_bad(self) -> None:
        """Raise one DataError that names the lines which cannot be used, if there are any."""
        if not self.bad:
            return
        self.bad.sort()
        listed = "; ".join(f"line {line}: {reason}" for line, reason in self.bad[:SHOWN])
        more = f"; and {len(self.bad) - SHOWN} more" if len(self.bad) > SHOWN else ""
        noun = "row" if len(self.bad) == 1 else "rows"
        raise DataError(
            f"{len(self.bad)} {noun} cannot be used: {listed}{more}",
            where=f"{self.path}:{self.bad[0][0]}",
            mend="Mend or delete them: a benchmark with rows left out is another benchmark",
        )


def _content(path: Path) -> bytes:
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        raise MissingInput("there is no such file", where=path) from None
    except IsADirectoryError:
        raise DataError("this is a folder, not a benchmark file", where=path) from None
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror})", where=path) from None
    if path.suffix != ".gz":
        return packed
    try:
        return gzip.decompress(packed)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"the gzip file is damaged ({error})", where=path, mend="Fetch it again") from None


def _json(decoded: str, bad: list[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, written in enumerate(decoded.split("\n"), 1):  # splitlines would cut at U+2028 in a text
        if not written.strip():
            continue
        try:
            row = json.loads(written)
        except (ValueError, RecursionError) as error:
            bad.append((line, f"not JSON ({error})"))
            continue
        if isinstance(row, dict):
            yield line, row
        else:
            bad.append((line, "not a JSON object"))


def _csv(decoded: str, bad: list[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(decoded, newline=""), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                bad.append((reader.line_num, "its number of cells is not the header's"))
            else:
                yield reader.line_num, row
    except csv.Error as error:
        bad.append((reader.line_num, f"not CSV ({error})"))
