"""The words of each row by who says them, straight from the Arrow column."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from dtm.foundations.types import Examples

Side = Literal["instruction", "response", "both"]
ROLES = {"instruction": ("user",), "response": ("assistant",), "both": ("user", "assistant")}


def texts(examples_N: Examples, on: Side) -> list[str]:
    """All user turns, all assistant turns or both of each row, in order, a blank line between turns."""
    return _joined(examples_N.table.column("messages"), on)


def texts_at(examples_N: Examples, rows: np.ndarray, on: Side) -> list[str]:
    """`texts` of some rows, in ascending order. Arrow's own `take` would copy the whole column first."""
    import pyarrow as pa

    messages = examples_N.table.column("messages")
    edges = np.cumsum([0, *map(len, messages.chunks)])
    cuts = np.searchsorted(rows, edges)
    taken = [
        chunk.take(pa.array(rows[low:high] - start))
        for chunk, start, low, high in zip(messages.chunks, edges[:-1], cuts[:-1], cuts[1:], strict=True)
        if low < high
    ]
    return _joined(pa.chunked_array(taken, messages.type), on)


def _joined(messages: Any, on: Side) -> list[str]:
    turns: list[list[str]] = [[] for _ in range(len(messages))]
    for row, content in _turns(messages, ROLES[on]):
        turns[row].append(content)
    return ["\n\n".join(contents) for contents in turns]


def first_turns(examples_N: Examples, role: str) -> list[str]:
    """The first message of that role in each row, or an empty text."""
    found = [""] * len(examples_N)
    seen = np.zeros(len(examples_N), bool)
    for row, content in _turns(examples_N.table.column("messages"), (role,)):
        if not seen[row]:
            found[row], seen[row] = content, True
    return found


def _turns(messages_N: Any, roles: tuple[str, ...]) -> list[tuple[int, str]]:
    """(row, content) of every message of these roles, in order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: list[tuple[int, str]] = []
    offset = 0
    for chunk in messages_N.chunks:
        messages = pc.list_flatten(chunk)
        wanted = pc.is_in(pc.struct_field(messages, "role"), pa.array(roles))
        rows = pc.filter(pc.list_parent_indices(chunk), wanted).to_numpy() + offset
        contents = pc.filter(pc.struct_field(messages, "content"), wanted).fill_null("")
        found += zip(rows.tolist(), contents.to_pylist(), strict=True)
        offset += len(chunk)
    return found
