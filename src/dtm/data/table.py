"""Rows into Arrow, some thousand at a time, and the JSON of what else a row said."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa

from dtm.data.turns import Message, Unusable
from dtm.foundations.types import MESSAGE, SCHEMA

BATCH = 4096  # rows
CHARACTERS = 1 << 26  # of content, after which a batch ends early: Arrow's strings hold 2 GiB


class Builder:
    """Collects one source's rows, as lists of at most BATCH, into a table with SCHEMA's columns."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.batches: list[pa.RecordBatch] = []
        self._clear()

    def _clear(self) -> None:
        self.ids: list[str] = []
        self.roles: list[str] = []
        self.contents: list[str] = []
        self.ends: list[int] = [0]
        self.metas: list[str] = []
        self.characters = 0

    def add(self, identity: str, messages: list[Message], meta: str) -> None:
        self.ids.append(identity)
        for message in messages:
            self.roles.append(message["role"])
            self.contents.append(message["content"])
            self.characters += len(message["content"])
        self.ends.append(len(self.roles))
        self.metas.append(meta)
        if len(self.ids) >= BATCH or self.characters >= CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        count = len(self.ids)
        said = [pa.array(self.roles, pa.string()), pa.array(self.contents, pa.string())]
        turns = pa.StructArray.from_arrays(said, fields=list(MESSAGE))
        ids = pa.array(self.ids, pa.string())
        columns = [
            ids,
            pa.array([self.source] * count, pa.string()),
            pa.ListArray.from_arrays(pa.array(self.ends, pa.int32()), turns),
            pa.nulls(count, pa.string()),
            ids,
            pa.array(self.metas, pa.string()),
        ]
        batch = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
        self.batches.append(batch)
        self._clear()

    def table(self) -> pa.Table:
        if self.ids:
            self._flush()
        return pa.Table.from_batches(self.batches, SCHEMA)


def encoded(meta: dict[str, Any]) -> str:
    """Sorted JSON; raises Unusable. NaN becomes null, dates ISO text, bytes their count."""
    if not meta:
        return "{}"
    try:
        try:
            text = _encode(meta)
        except ValueError:
            text = _encode(_finite(meta))
        text.encode()
    except RecursionError:
        raise Unusable("nested too deep") from None
    except UnicodeEncodeError:  # lone surrogates: JSON can say them, UTF-8 cannot
        text = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    return text


def _plain(value: Any) -> str:
    """What Arrow has and JSON lacks."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False,
                           default=_plain).encode  # fmt: skip
