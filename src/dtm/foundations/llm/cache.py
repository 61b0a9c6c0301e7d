"""Answers that were paid for, in one file of the store, each under the key of all that it depends on.

An answer is on disk before the next request of its thread is sent, so a killed run loses those in flight alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from dtm.foundations.errors import StoreError
from dtm.foundations.llm.requests import Reply

NAME = "llm.sqlite"
AT_A_TIME = 500
KEPT = ("text", "failure", "finish", "prompt_tokens", "completion_tokens", "tries")


class Cache:
    """Replies by key; any number of processes of one machine may share the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._connect() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE IF NOT EXISTS reply (key TEXT PRIMARY KEY, value TEXT)")

    @classmethod
    def of_store(cls, root: Path) -> Cache:
        return cls(root / NAME)

    def find(self, keys: Iterable[str]) -> dict[str, Reply]:
        """The replies that are known, without their `value`, which the reader parses."""
        wanted, found = list(dict.fromkeys(keys)), dict[str, Reply]()
        with self._connect() as connection:
            for start in range(0, len(wanted), AT_A_TIME):
                part = wanted[start : start + AT_A_TIME]
                query = f"SELECT key, value FROM reply WHERE key IN ({','.join('?' * len(part))})"
                for key, value in connection.execute(query, part):
                    found[key] = Reply(**json.loads(value), cached=True)
        return found

    def put_all(self, replies: Mapping[str, Reply]) -> None:
        """Keep replies, on disk when this returns."""
        rows = [(key, json.dumps({name: getattr(one, name) for name in KEPT}, sort_keys=True))
                for key, one in replies.items()]  # fmt: skip
        with self._connect() as connection:
            connection.executemany("INSERT OR REPLACE INTO reply VALUES (?, ?)", rows)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
                yield connection
        except sqlite3.DatabaseError as error:
            raise StoreError(f"the cache of LLM answers cannot be used: {error}", where=self.path,
                             mend="Move that file away; what it held is asked again") from error  # fmt: skip
