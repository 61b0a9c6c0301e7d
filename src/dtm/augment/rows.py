"""What an augmenting method hands back: new rows, and what could not be used, with reasons."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dtm.foundations.types import SCHEMA, Examples, canonical_id

SHOWN = 300  # characters of what is kept aside
Row = dict[str, Any]


@dataclass
class Augmented:
    """`rows` have SCHEMA's columns; of `seeds` rows one or more was made; `invalid` are kept aside with reasons."""

    rows: list[Row] = field(default_factory=list)
    seeds: int = 0
    invalid: list[Row] = field(default_factory=list)

    def table(self) -> pa.Table:
        return pa.Table.from_pylist(self.rows, SCHEMA)

    def aside(self, row: Row, reason: str, instruction: str, response: str | None) -> None:
        """Keep what cannot be used."""
        self.invalid.append({
            "id": row["id"], "source": row["source"], "reason": reason, "instruction": instruction[:SHOWN],
            "response": (response or "")[:SHOWN],
        })  # fmt: skip

    @property
    def reasons(self) -> dict[str, int]:
        return dict(sorted(Counter(one["reason"] for one in self.invalid).items()))


def seeds(examples: Examples, sources: Iterable[str] | None) -> Iterator[Row]:
    """The rows that may be augmented: those whose last two turns are the user's and the assistant's."""
    wanted = None if sources is None else set(sources)
    for row in examples.rows():
        roles = [message["role"] for message in row["messages"]]
        if roles[-2:] == ["user", "assistant"] and (wanted is None or row["source"] in wanted):
            yield row


def asked(row: Row) -> tuple[str, str]:
    """The last instruction and its response."""
    return row["messages"][-2]["content"], row["messages"][-1]["content"]


def child(row: Row, instruction: str, response: str, told: Row) -> Row:
    """A row like its parent but for the last instruction and its response; `told` goes to `meta.augment`."""
    messages = [
        *row["messages"][:-2], {"role": "user", "content": instruction}, {"role": "assistant", "content": response}
    ]  # fmt: skip
    meta = json.dumps({"augment": told}, sort_keys=True, ensure_ascii=False)
    return {"id": canonical_id(messages), "source": row["source"], "messages": messages, "parent": row["id"],
            "family": row["family"], "meta": meta}  # fmt: skip
