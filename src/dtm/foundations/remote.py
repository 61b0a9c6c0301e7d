"""A folder at a URL (`s3://`, `gs://`, ...), through fsspec: the same call again while the network fails.

Credentials come from the environment, as boto and Google's library read them; a URL never holds one.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from dtm.foundations.errors import ConfigError, DtmError, MissingInput, StoreError
from dtm.foundations.urls import check_url

Result = TypeVar("Result")
PATIENCE = 300.0  # seconds in which a server may come back
BRIEF = 30.0
LONGEST = 20.0  # seconds between two tries
TRANSFERS = 4  # files on their way at a time, of each up to 4 parts
PART, PARTS = 8 << 20, 9000  # bytes of a part, and how many a file may have at most
EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
OPTIONS: dict[str, dict[str, Any]] = {
    # A few tries of botocore's own; the long wait is ours.
    "s3": {
        "max_concurrency": 4,
        "default_block_size": PART,
        "config_kwargs": {"retries": {"max_attempts": 2, "mode": "standard"}},
    },
    "file": {"auto_mkdir": True},
}
READ_ONLY = ("http", "https", "data", "github", "git", "hf", "zip", "tar")
LOCAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE})
NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"})


@dataclass
class Remote:
    """What stands below a URL, by relative names. `tell` hears of trouble that may pass.

    Raises StoreError where the server refuses or does not come back within `patience` seconds.
    """

    url: str
    filesystem: Any
    root: str
    tell: Callable[[str], None] = field(default=lambda text: None)
    patience: float = PATIENCE

    @classmethod
    def open(cls, url: str, *, where: object = None) -> Remote:
        """Connect to nothing yet. Raises DtmError for a scheme that is unknown, read-only or not installed."""
        url = check_url(url, where=where)
        scheme = urlsplit(url).scheme.lower()
        if scheme in READ_ONLY:
            raise ConfigError(
                f"{scheme}:// cannot be written to", where=where, mend="Use s3://, gs:// or a path"
            )
        import fsspec

        try:
            kind = fsspec.get_filesystem_class(scheme)
        except ValueError:
            from dtm.foundations.registry import unknown

            known = ("s3", "gs", "abfs", "file", "memory", "sftp", "hdfs")
            raise unknown("kind of storage", scheme, known, where=where) from None
        except ImportError as error:
            package, extra = EXTRAS.get(scheme, ("", ""))
            mend = f"Run `pip install 'disperse-then-merge[{extra}]'`" if extra else str(error)
            what = f"{scheme}:// needs the package {package or 'that fsspec names'}"
            raise MissingInput(what, where=where, mend=mend) from None
        options = OPTIONS.get(EXTRAS.get(scheme, ("", scheme))[1], {})
        filesystem = fsspec.filesystem(scheme, use_listings_cache=False, **options)
        return cls(url, filesystem, kind._strip_protocol(url))

    def below(self, name: str) -> Remote:
        """A folder of this folder."""
        return replace(self, url=f"{self.url}/{name}", root=self.path(name))

    def brief(self) -> Remote:
        """The same, for what is done again anyway: it gives up sooner."""
        return replace(self, patience=BRIEF)

    def check(self, *, where: object = None) -> None:
        """Write, read and remove a small file. Raises DtmError at once where that fails."""
        name, text = f".dtm-check-{secrets.token_hex(8)}", b"dtm"
        probe = replace(self, patience=0.0)
        try:
            probe.write(name, text)
            if probe.read(name) != text:
                raise StoreError(f"{self.url} does not give back what was written to it")
            probe.remove([name])
        except DtmError as error:
            error.where = None if where is None else str(where)
            raise

    def clock(self) -> float:
        """The server's time, seconds since 1970, by which ages of its files are told: clocks of machines differ."""
        name = f".dtm-clock-{secrets.token_hex(8)}"
        self.write(name, b"?")
        try:
            return _modified(self._try(lambda: self.filesystem.info(self.path(name))))
        finally:
            self.remove([name])

    def read(self, name: str) -> bytes | None:
        """A small file's bytes, or None where there is none."""

        def call() -> bytes | None:
            try:
                return self.filesystem.cat_file(self.path(name))
            except FileNotFoundError:
                return None

        return self._try(call)

    def read_json(self, name: str) -> Any:
        """A JSON file's value; None where there is no such file, or it was cut short."""
        text = self.read(name)
        try:
            return None if text is None else json.loads(text)
        except ValueError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Put a small file in place."""
        self._make(name, lambda path: self.filesystem.pipe_file(path, content))

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode())

    def put(self, files: Iterable[tuple[Path, str]]) -> None:
        """Upload files to names, in blocks, several at a time."""

        def one(path: Path, name: str) -> None:
            size = path.stat().st_size  # of one that is gone, an error that no missing bucket is
            parts = {"chunksize": max(PART, -(-size // PARTS))} if "s3" in self.filesystem.protocol else {}
            self._make(name, lambda place: self.filesystem.put_file(str(path), place, **parts))

        _side_by_side(one, files)

    def get(self, files: Iterable[tuple[str, Path]]) -> None:
        """Download names to files, in blocks, several at a time. Raises FileNotFoundError where one is not there."""

        def one(name: str, path: Path) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            found = self._try(
                lambda: _or_none(lambda: self.filesystem.get_file(self.path(name), str(path)) or True)
            )
            if found is None:
                raise FileNotFoundError(f"{self.url}/{name}")

        _side_by_side(one, files)

    def walk(self, name: str = "") -> dict[str, dict[str, Any]]:
        """Every file below a folder of it, by relative name: size in bytes, and `modified`, seconds since 1970.

        Names that would lead out of a folder here are left out: an object may be called `../x`.
        """
        top = self.path(name) if name else self.root

        def call() -> dict[str, Any]:
            return _or_none(lambda: self.filesystem.find(top, detail=True)) or {}

        found = self._try(call)
        prefix = top.rstrip("/") + "/"
        return {
            path[len(prefix) :]: {"size": info["size"] or 0, "modified": _modified(info)}
            for path, info in sorted(found.items())
            if path.startswith(prefix) and ".." not in path.split("/")
        }

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are gone already are fine."""
        _side_by_side(lambda name: self._try(lambda: self._remove(name)), ((name,) for name in names))

    def copy(self, source: str, name: str) -> None:
        """Copy a file of the same server by its full path, without its bytes coming here."""
        self._make(name, lambda path: self.filesystem.cp_file(source, path))

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.filesystem.rm_file(self.path(name))

    def path(self, name: str) -> str:
        """The full path of a name, as `copy` takes it."""
        return f"{self.root.rstrip('/')}/{name}"

    def _make(self, name: str, call: Callable[[str], object]) -> None:
        """Call it with a name's full path; folders are made where a file system has them, buckets never."""

        def made() -> None:
            path = self.path(name)
            if not self.filesystem.async_impl:
                self.filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            call(path)

        self._try(made)

    def _try(self, call: Callable[[], Result]) -> Result:
        started, wait = time.monotonic(), 0.5
        while True:
            try:
                return call()
            except Exception as error:
                if (refused := self._refused(error)) is not None:
                    raise refused from None
                if not _may_pass(error):
                    raise
                left = self.patience - (time.monotonic() - started)
                if left <= 0:
                    raise StoreError(f"{self._server()} does not answer ({_short(error)})", where=self.url,
                                     mend="What was done is kept in the cache; the same command goes on from here "
                                     "once it does") from None  # fmt: skip
                wait = min(2 * wait, LONGEST)
                self.tell(f"{self.url}: {_short(error)}; trying again in {wait:.0f} s")
                time.sleep(min(wait, left))

    def _refused(self, error: Exception) -> DtmError | None:
        """What no second try would mend, in words; None for other errors."""
        name = type(error).__name__
        if isinstance(error, DtmError):
            return error
        if name in NO_CREDENTIALS:
            return StoreError("there are no credentials for it", where=self.url,
                              mend="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for gs://, "
                              "GOOGLE_APPLICATION_CREDENTIALS")  # fmt: skip
        code = getattr(error, "code", None)  # of Google's errors
        if isinstance(error, PermissionError) or code in (401, 403):
            return StoreError(f"the server refuses: {_short(error)}", where=self.url,
                              mend="Use credentials that may read, list, write and delete there")  # fmt: skip
        if isinstance(error, FileNotFoundError) or code == 404:
            return MissingInput(f"there is no such bucket: {_short(error)}", where=self.url,
                                mend="Make it first; dtm makes no buckets")  # fmt: skip
        if name in ("ParamValidationError", "InvalidRegionError"):
            return ConfigError(f"this cannot be: {_short(error)}", where=self.url)
        return None

    def _server(self) -> str:
        return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "the server"


def _side_by_side(work: Callable[..., None], each: Iterable[tuple[Any, ...]]) -> None:
    """Call it for all, several at a time; the first error is raised."""
    with ThreadPoolExecutor(TRANSFERS) as pool:
        calls = [pool.submit(work, *one) for one in each]
    for call in calls:
        call.result()


def _may_pass(error: Exception) -> bool:
    """Whether it is the network's or the server's fault; a full disk of this machine is not."""
    if isinstance(error, OSError):
        return error.errno not in LOCAL
    return type(error).__module__.split(".")[0] in ("botocore", "aiohttp", "aiobotocore", "gcsfs", "google", "requests",
                                                     "urllib3", "fsspec", "asyncio")  # fmt: skip


def _or_none(call: Callable[[], Result]) -> Result | None:
    try:
        return call()
    except FileNotFoundError:
        return None


def _modified(info: dict[str, Any]) -> float:
    for name in ("LastModified", "mtime", "updated", "last_modified", "created"):
        value: Any = info.get(name)
        if hasattr(value, "timestamp"):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return 0.0


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
