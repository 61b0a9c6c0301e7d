"""A run folder whose output_dir is a URL: worked on in this machine's cache, and shown at the URL.

Live files - the log, keys, steps, results: small ones that a run writes as it goes - are uploaded as they change. All
others go up when the run is finished, with `.dtm-files.json`, their sha256 by name, last: from it the next upload knows
what is there already, and a reader what it must get. The newest upload of a live file wins.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dtm.config import RunFile
from dtm.foundations.errors import MissingInput, StoreError
from dtm.foundations.files import read_json, sha256, walk, write_json
from dtm.foundations.mirror import MirroredStore
from dtm.foundations.remote import Remote
from dtm.foundations.store import Store
from dtm.foundations.urls import cached, is_url
from dtm.pipeline.background import Background

EVERY = 5.0  # seconds between two uploads of what changed
INDEX = ".dtm-files.json"  # at the URL: sha256 of the files that are not live, by name
PUSHED = ".pushed.json"  # in the cache: sha256 of live files as this machine uploaded them last
LIVE = frozenset({".yaml", ".json", ".log", ".txt", ".csv"})
LARGEST = 4 << 20  # bytes up to which a live file is uploaded again and again
MODELS = frozenset({"merged", "submodels", "baselines", "checkpoints"})  # folders of them
REGISTRY = "runs"  # of a remote store
MADE_BY_US = ("run.yaml", "study.yaml")


class RunMirror:
    """Moves a run folder to and from its URL, and tells a remote store what the folder names; else does nothing."""

    def __init__(self, folder: Path, url: str | None, store: Store | None = None) -> None:
        self.folder, self.url = folder, url
        self.remote = Remote.open(url) if url else None
        self.store = store if isinstance(store, MirroredStore) else None
        self._registry = self.store.remote.below(REGISTRY).brief() if self.store else None
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[int, int]] = {}  # size and mtime of live files when they were uploaded
        self._background: Background | None = None

    @classmethod
    def of(cls, file: RunFile, store: Store, tell: Callable[[str], None]) -> RunMirror:
        """The mirror of a run's folder."""
        mirror = cls(file.output_dir, file.output_url, store)
        if mirror.remote is not None:
            mirror.remote.tell = tell
        if mirror.store is not None:
            mirror.store.hear(tell)
        if mirror.url:
            tell(f"{mirror.url}: worked on in {mirror.folder}")
        return mirror

    def fetch_live(self) -> None:
        """Bring the live files that this machine lacks, and those that another one uploaded since it did."""
        if self.remote is None:
            return
        pushed = _json(self.folder / PUSHED)
        for name in self.remote.walk():
            if not _is_live(name) or (content := self.remote.read(name)) is None:
                continue
            here = self.folder / name
            if not here.exists() or hashlib.sha256(content).hexdigest() != pushed.get(name):
                here.parent.mkdir(parents=True, exist_ok=True)
                here.unlink(missing_ok=True)
                here.write_bytes(content)

    def fetch(self, wanted: Callable[[str], bool]) -> None:
        """Bring the live files, and what is wanted of the finished run. Raises StoreError where one was changed."""
        self.fetch_live()
        if self.remote is None:
            return
        index = self._index()
        names = [name for name in index if wanted(name) and not _is_here(self.folder / name, index[name])]
        for name in names:
            (self.folder / name).unlink(missing_ok=True)  # it may be a link to a file of the store
        try:
            self.remote.get((name, self.folder / name) for name in names)
            changed = [name for name in names if not _is_here(self.folder / name, index[name])]
        except FileNotFoundError as error:
            changed = [str(error)]
        if changed:
            raise StoreError(f"{changed[0]} is not what {INDEX} says: it is being written, or damaged", where=self.url,
                             mend="Wait for the run to end, or do the same `dtm run` again")  # fmt: skip

    def start(self, tell: Callable[[str], None]) -> None:
        """From now on upload live files as they change."""
        if self.remote is not None or self.store is not None:
            self._background = Background(self.push_live, EVERY, tell)

    def stop(self) -> None:
        """Upload what changed last."""
        if self._background is not None:
            self._background.stop()
            self._background = None

    def push_live(self) -> None:
        """Upload live files that changed, and to the remote store which keys this folder names."""
        with self._lock:
            for name, path in walk(self.folder):
                with suppress(FileNotFoundError):  # files come and go meanwhile
                    stat = path.stat()
                    now = stat.st_size, stat.st_mtime_ns
                    if _goes_live(name, path) and now != self._seen.get(name):
                        self._push_one(name, path.read_bytes())
                        self._seen[name] = now

    def push_all(self) -> None:
        """Show the finished run: all files, and none of before that it has no more."""
        if self.remote is None:
            return
        with self._lock:
            before = self._index()
            files = {name: path for name, path in walk(self.folder)
                     if not _goes_live(name, path) and not _is_hidden(name)}  # fmt: skip
            index = {name: self._digest(path) for name, path in files.items()}
            self._upload({name: files[name] for name in files if index[name] != before.get(name)}, index)
            self.remote.write_json(INDEX, index)
            self.remote.remove([name for name in before if name not in index and not _is_live(name)])
        self.push_live()

    def push(self, names: Iterable[str]) -> None:
        """Upload single files of the finished run, and what changed of the live ones."""
        if self.remote is None:
            return
        with self._lock:
            changed = {name: sha256(self.folder / name) for name in names
                       if not _goes_live(name, self.folder / name)}  # fmt: skip
            self.remote.put((self.folder / name, name) for name in changed)
            self.remote.write_json(INDEX, {**self._index(), **changed})
        self.push_live()

    def _upload(self, files: dict[str, Path], index: dict[str, str]) -> None:
        """What the store's URL has is copied there; the rest goes up."""
        assert self.remote is not None
        there = self._stored()
        for name, path in list(files.items()):
            if (source := there.get(index[name])) is not None and path.stat().st_size > 0:
                self.remote.copy(source, name)
                del files[name]
        self.remote.put((path, name) for name, path in files.items())

    def _stored(self) -> dict[str, str]:
        """Full remote paths by sha256, of files of the run's artifacts, where store and folder are on one server."""
        if self.store is None or self.remote is None:
            return {}
        if self.store.remote.filesystem is not self.remote.filesystem:
            return {}
        found: dict[str, str] = {}
        for key in _json(self.folder / "keys.json", []):
            found |= self.store.stored(key)
        return found

    def _push_one(self, name: str, content: bytes) -> None:
        if self.remote is not None:
            self.remote.brief().write(name, content)
            digest = hashlib.sha256(content).hexdigest()
            write_json(self.folder / PUSHED, {**_json(self.folder / PUSHED), name: digest})
        if name == "keys.json" and self._registry is not None:
            place = self.url or f"{socket.gethostname()}:{self.folder}"
            entry = {"folder": place, "keys": json.loads(content)}
            self._registry.write_json(f"{registered(place)}.json", entry)

    def _index(self) -> dict[str, str]:
        found = self.remote.read_json(INDEX) if self.remote is not None else None
        return {name: digest for name, digest in (found or {}).items() if _is_safe(name)}

    def _digest(self, path: Path) -> str:
        return self.store.digests.of(path) if self.store is not None else sha256(path)


def here(place: Path | str, *, live: bool = False) -> Path:
    """The folder of a run that is named by folder or URL; of a URL, its files but for models come into the cache.

    With `live`, only what tells how far it is. Raises MissingInput where no run was.
    """
    if not is_url(place):
        return Path(place).expanduser()
    mirror = RunMirror(cached(str(place)), str(place))
    assert mirror.remote is not None
    if not is_run(mirror.remote):
        raise MissingInput(
            "there is no run.yaml, so no run was here", where=place, mend="`dtm run FILE` makes it"
        )
    mirror.fetch(lambda name: not live and not MODELS.intersection(name.split("/")))
    return mirror.folder


def give_back(place: Path | str, *names: str) -> None:
    """Upload what a command changed in the folder of a run that is named by URL."""
    if is_url(place):
        RunMirror(cached(str(place)), str(place)).push(names)


def is_run(remote: Remote) -> bool:
    """Whether a run or a study was begun there."""
    return any(remote.read(name) is not None for name in MADE_BY_US)


def registered(place: str) -> str:
    """The name under which a remote store knows a run folder."""
    name = place.rstrip("/").rpartition("/")[2]
    return f"{name}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"


def _is_live(name: str) -> bool:
    top = "/" not in name and (Path(name).suffix in LIVE or name == "log.jsonl")
    return (top or name.startswith("logs/")) and not _is_hidden(name)


def _goes_live(name: str, path: Path) -> bool:
    return _is_live(name) and path.stat().st_size <= LARGEST


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _is_safe(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/")


def _is_here(path: Path, digest: str) -> bool:
    return path.exists() and sha256(path) == digest


def _json(path: Path, otherwise: Any = None) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {} if otherwise is None else otherwise
