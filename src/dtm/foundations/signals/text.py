"""The words of each row by who says them, straight from the Arrow column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, overload

import numpy as np

from dtm.foundations.blocks import blocks
from dtm.foundations.types import Examples

Side = Literal["instruction", "response", "both"]
VERSION = 2  # of what a row says; 2: a row of plain text is all response
ROLES = {"instruction": ("user",), "response": ("assistant", "text"), "both": ("user", "assistant", "text")}
BATCH = 2048  # rows whose texts are Python objects at one time


class Texts(Sequence[str]):
    """The texts of all rows, or of the ascending `rows`, as `texts` joins them: decoded where they are read, not kept.

    A slice or ascending numbers give a list; iteration decodes BATCH rows at a time.
    """

    def __init__(self, examples_N: Examples, on: Side, rows: np.ndarray | None = None) -> None:
        self.examples_N, self.on, self.rows = examples_N, on, rows

    def __len__(self) -> int:
        return len(self.examples_N) if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, rows: int) -> str: ...
    @overload
    def __getitem__(self, rows: slice | np.ndarray) -> list[str]: ...
    def __getitem__(self, rows: int | slice | np.ndarray) -> str | list[str]:
        if isinstance(rows, np.ndarray):
            return texts_at(self.examples_N, rows if self.rows is None else self.rows[rows], self.on)
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step != 1:
                return [self[row] for row in range(start, stop, step)]
            if self.rows is not None:
                return texts_at(self.examples_N, self.rows[rows], self.on)
            return texts(Examples(self.examples_N.table.slice(start, max(stop - start, 0))), self.on)
        row = range(len(self))[rows]
        return self[row : row + 1][0]

    def __iter__(self) -> Iterator[str]:
        for rows in blocks(len(self), BATCH):
            yield from self[rows]


def at(texts_N: Sequence[str], rows: np.ndarray) -> list[str]:
    """The texts of some rows, in ascending order."""
    return texts_N[rows] if isinstance(texts_N, Texts) else [texts_N[row] for row in rows]


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


def blank(examples_N: Examples, on: Side) -> np.ndarray:
    """Which rows say nothing on that side but white space, bool [N]."""
    import pyarrow.compute as pc

    blank_N = np.ones(len(examples_N), bool)
    for rows, contents in _spoken(examples_N.table.column("messages"), ROLES[on]):
        letters = pc.binary_length(pc.utf8_trim_whitespace(contents)).to_numpy(zero_copy_only=False)
        blank_N[rows[letters > 0]] = False
    return blank_N


def _joined(messages: Any, on: Side) -> list[str]:
    turns: list[list[str]] = [[] for _ in range(len(messages))]
    for rows, contents in _spoken(messages, ROLES[on]):
        for row, content in zip(rows.tolist(), contents.to_pylist(), strict=True):
            turns[row].append(content)
    return ["\n\n".join(contents) for contents in turns]


def first_turns(examples_N: Examples, role: str) -> list[str]:
    """The first message of that role in each row, or an empty text."""
    found = [""] * len(examples_N)
    seen = np.zeros(len(examples_N), bool)
    for rows, contents in _spoken(examples_N.table.column("messages"), (role,)):
        for row, content in zip(rows.tolist(), contents.to_pylist(), strict=True):
            if not seen[row]:
                found[row], seen[row] = content, True
    return found


def _spoken(messages_N: Any, roles: tuple[str, ...]) -> Iterator[tuple[np.ndarray, Any]]:
    """The row of every message of these roles, int [M], and its content, by chunk of the column, in order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    offset = 0
    for chunk in messages_N.chunks:
        messages = pc.list_flatten(chunk)
        wanted = pc.is_in(pc.struct_field(messages, "role"), pa.array(roles))
        rows = pc.filter(pc.list_parent_indices(chunk), wanted).to_numpy() + offset
        yield rows, pc.filter(pc.struct_field(messages, "content"), wanted).fill_null("")
        offset += len(chunk)
