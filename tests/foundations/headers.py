"""Safetensors files whose headers lie, by what is wrong with them."""

from __future__ import annotations

import json
import struct


def with_header(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


LIES = {
    "empty": b"",
    "short": b"\x10\x00",
    "header longer than the file": struct.pack("<Q", 1 << 40) + b"{}",
    "no JSON": with_header(b"{not json"),
    "no UTF-8": with_header(b"\xff\xfe{}"),
    "no object": with_header([1, 2]),
    "a name twice": with_header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                                b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "too few bytes": with_header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}, bytes(8)),
    "past the end": with_header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(8)),
    "overlap": with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                            "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, bytes(12)),
    "gap": with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
    "left over": with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(8)),
    "negative": with_header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}),
    "huge shape": with_header({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}, bytes(4)),
    "truth for a number": with_header({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, bytes(1)),
    "unknown dtype": with_header({"a": {"dtype": "F7", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "deep": with_header(b"[" * 100_000 + b"]" * 100_000),
}  # fmt: skip
