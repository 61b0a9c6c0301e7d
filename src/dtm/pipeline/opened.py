"""A run's folder as `dtm status` reads it: on this machine, on a disk that machines share, or behind a URL."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any, Protocol

from dtm.foundations.errors import MissingInput
from dtm.pipeline.journal import LOCK


class Folder(Protocol):
    """What can be read of a run; `place` is how the user calls it."""

    place: str

    def read(self, name: str, last: int | None = None) -> bytes | None:
        """A file's content, or only so many bytes of its end; None where there is no such file."""
        ...

    def held(self) -> bool | None:
        """Whether a process holds the driver's lock; None where that cannot be known."""
        ...


def opened(run: str | os.PathLike[str]) -> Folder:
    """The folder at a path or at a URL of fsspec's. Raises MissingInput where there is none."""
    if "://" in (text := str(run)):
        return Remote(text)
    path = Path(run).expanduser()
    if not path.is_dir():
        raise MissingInput("there is no such folder", where=path, mend="Name a run's output_dir")
    return Local(path)


class Local:
    """A folder that the operating system sees."""

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, str(path)

    def read(self, name: str, last: int | None = None) -> bytes | None:
        try:
            with open(self.path / name, "rb") as file:
                if last is not None:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - last))
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def held(self) -> bool | None:
        try:
            file = os.open(self.path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        except OSError:  # a disk without locks, or one that locks only what may be written
            return None
        finally:
            os.close(file)


class Remote:
    """A folder behind a URL, such as `s3://bucket/run`; no lock is seen through it."""

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            found = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise MissingInput(f"it cannot be opened: {error}", where=url) from None
        self.files: Any = found[0]
        self.root, self.place = found[1], url
        self.files.invalidate_cache()

    def read(self, name: str, last: int | None = None) -> bytes | None:
        try:
            return self.files.cat_file(f"{self.root}/{name}", start=None if last is None else -last)
        except FileNotFoundError:
            return None

    def held(self) -> bool | None:
        return None
