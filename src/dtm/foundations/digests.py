"""sha256 of files, kept in one small database, so that a second run reads no model again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from dtm.foundations.errors import ResourceError, StoreError
from dtm.foundations.files import canonical, sha256, text_digest, walk


class Digests:
    """sha256 of files, remembered by (path, size, mtime, inode) so that a rerun reads no model again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._connect() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS digest (path TEXT PRIMARY KEY, stat TEXT, sha256 TEXT)"
            )

    def of(self, path: Path) -> str:
        """sha256 of the file, read only if its stat changed."""
        path = path.resolve()
        stat = _stat(path)
        with self._connect() as connection:
            row = connection.execute(
                "SELECT stat, sha256 FROM digest WHERE path = ?", (str(path),)
            ).fetchone()
        if row and row[0] == stat:
            return row[1]
        return self.reread(path)

    def reread(self, path: Path) -> str:
        """sha256 of the file as it is now, whatever is remembered of it."""
        path = path.resolve()
        stat = _stat(path)
        value = sha256(path)
        self._save([(str(path), stat, value)])  # the stat of before: what changes meanwhile is read again
        return value

    def of_folder(self, folder: Path, *, only: Callable[[str], bool] = lambda name: True) -> str:
        """One digest of the names and contents of a folder's files."""
        files = {name: self.of(path) for name, path in walk(folder) if only(name)}
        return text_digest(canonical(files))

    def remember(self, values: Mapping[Path, str]) -> None:
        """Take each value for the sha256 of its file as that is now."""
        self._save([(str(path := file.resolve()), _stat(path), value) for file, value in values.items()])

    def _save(self, rows: list[tuple[str, str, str]]) -> None:
        with self._connect() as connection:
            connection.executemany("INSERT OR REPLACE INTO digest VALUES (?, ?, ?)", rows)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
                yield connection
        except sqlite3.DatabaseError as error:
            if "full" in str(error):
                raise ResourceError(
                    f"the digest cache cannot be written: {error}", where=self.path,
                    mend="Free some space (`dtm gc` removes what no run names); the same command goes on from here",
                ) from error  # fmt: skip
            raise StoreError(
                f"the digest cache cannot be used: {error}", where=self.path,
                mend="Delete that file; it is made again",
            ) from error  # fmt: skip


def user_digest(path: Path) -> str:
    """sha256 of a file outside of any store, remembered for this user if there is a place for that."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dtm"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        digests = Digests(cache / "digests.sqlite")
    except (OSError, StoreError):
        return sha256(path)
    return digests.of(path)


def _stat(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ino}"
