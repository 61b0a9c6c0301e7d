"""The header of a safetensors file: read without trusting it, and written.

A file is an 8-byte little-endian length, that many bytes of JSON, and the tensors' bytes. We read
the JSON ourselves, because merging needs offsets rather than tensors and checks need no arrays, and hold
every claim that it makes against the size of the file before a byte of it is used.
Format: https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ModelError

LONGEST = 100_000_000  # bytes of JSON: the reference implementation's own limit
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "C64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """Where one tensor's bytes stand in its file: `start` counts from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def count(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.count * ITEM_BYTES[self.dtype]


class _Lie(Exception):
    """A claim of a header that is not true."""


def read_header(path: Path, *, where: object = None) -> dict[str, Slot]:
    """The tensors of a safetensors file by name; `where` says whose file it is.

    Raises ModelError where the file is truncated, its header is no header, or the header claims
    bytes that overlap, leave gaps, or are not there.
    """
    place = f"{where}: {path}" if where else path
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or length > min(LONGEST, size - 8):
                raise _Lie(f"it has {size} bytes and says that its header takes {length}")
            return _slots(_parse(file.read(length)), 8 + length, size)
    except (_Lie, OSError) as error:
        text = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"this checkpoint is corrupt or cut short ({text})", where=place,
                         mend="Fetch or write the file again") from None  # fmt: skip


def _parse(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name stands in it twice")
        return found

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _Lie(f"its header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise _Lie("its header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _Lie("its metadata are not names with texts")
    return header


def _slots(header: dict[str, Any], begin: int, size: int) -> dict[str, Slot]:
    found, ranges = {}, []
    for name, entry in header.items():
        slot, end = _slot(name, entry, begin)
        found[name] = slot
        ranges.append((slot.start, end, name))
    position = begin
    for start, end, name in sorted(ranges):
        if start != position:
            raise _Lie(f"{name!r} starts at {start}, not at {position}")
        position = end
    if position != size:
        raise _Lie(f"its header describes {position} bytes and the file has {size}")
    return found


def _slot(name: str, entry: Any, begin: int) -> tuple[Slot, int]:
    try:
        dtype, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
        natural = all(type(number) is int and 0 <= number < 2**63 for number in (*shape, first, last))
    except (TypeError, KeyError, ValueError):
        raise _Lie(f"its header is wrong at {name!r}") from None
    if not natural or not isinstance(shape, list):
        raise _Lie(f"its header gives {name!r} a shape or place that cannot be")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _Lie(f"tensor {name!r} has a dtype that is not known, {dtype!r}")
    slot = Slot(dtype, tuple(shape), begin + first)
    if last - first != slot.nbytes:
        raise _Lie(f"its header gives {name!r} {last - first} bytes; its shape needs {slot.nbytes}")
    return slot, begin + last


def build_header(
    tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: dict[str, str]
) -> tuple[bytes, dict[str, Slot]]:
    """The bytes before the data of a file with these (name, dtype, shape), and each tensor's slot.

    Wide types come first, so that every tensor is aligned to its own width; then by name.
    """
    entries: dict[str, Any] = {"__metadata__": metadata}
    position, places = 0, {}
    for name, dtype, shape in sorted(tensors, key=lambda one: (-ITEM_BYTES[one[1]], one[0])):
        end = position + prod(shape) * ITEM_BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        places[name] = position
        position = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    begin = 8 + len(text)
    slots = {
        name: Slot(entries[name]["dtype"], tuple(entries[name]["shape"]), begin + place)
        for name, place in places.items()
    }
    return len(text).to_bytes(8, "little") + text, slots
