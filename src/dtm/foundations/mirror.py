"""A store that is kept at a URL: the local one is the cache it works in, and the remote manifest decides.

    URL/
      objects/<key>/manifest.json       written last: without one, the artifact is not there
      objects/<key>/<upload>/           its files; the manifest names the upload that counts, and their sha256
      work/<key>/                       checkpoints of a training that is not finished (pipeline/streaming.py)
      runs/<name>.json                  a run folder, and the keys that it names: what `gc` spares

Two drivers that make one key at the same time upload to two places; the last manifest wins, and both have the same
content. A file that lacks its digest makes the artifact be made again.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ResourceError, StoreError
from dtm.foundations.files import sha256, write_json
from dtm.foundations.remote import Remote
from dtm.foundations.store import Artifact, Step, Store, is_manifest, read_manifest
from dtm.foundations.urls import cached, is_url

UPLOAD = "upload"  # in a remote manifest: the folder of its files
GROSS = 100e6  # bytes from which moving an artifact is told


class MirroredStore(Store):
    """The store at `url`, worked on below this machine's cache folder. `tell` hears what takes long or goes wrong."""

    def __init__(
        self, url: str, *, tell: Callable[[str], None] = lambda text: None, where: object = None
    ) -> None:
        self.remote = Remote.open(url, where=where)
        super().__init__(cached(url))
        self._there: set[str] = set()  # keys that are known to be whole remotely
        self._damaged: set[str] = set()  # keys whose remote files are not what their manifest says
        self.hear(tell)

    def hear(self, tell: Callable[[str], None]) -> None:
        """Let another one hear."""
        self.tell = self.remote.tell = tell

    def find(self, step: Step) -> Artifact | None:
        """The artifact from the cache, which is uploaded if the remote lacks it, or else from the remote."""
        artifact = super().find(step)
        if artifact is None:
            return self._fetch(step.key)
        self._push(artifact)
        return artifact

    def peek(self, step: Step) -> Artifact | None:
        """The artifact from the cache, or with a folder that is not there, what the remote manifest says of it."""
        artifact = super().find(step)
        if artifact is None and (manifest := self._manifest(step.key)) is not None:
            return Artifact(step.key, self.root / "objects" / step.key, manifest)
        return artifact

    def published(self, artifact: Artifact) -> None:
        self._push(artifact)

    def bring(self, key: str) -> None:
        """Have the artifact of a key in the cache. Raises StoreError where it is not at the URL, whole."""
        if read_manifest(self.root / "objects" / key) is None and self._fetch(key) is None:
            raise StoreError(f"the artifact {key} is not there, or damaged", where=self.remote.url,
                             mend="The same `dtm run` makes it again")  # fmt: skip

    def stored(self, key: str) -> dict[str, str]:
        """Full remote paths of an artifact's files by their sha256, for copies on the server."""
        manifest = self._manifest(key) if key in self._there else None
        if manifest is None:
            return {}
        return {
            digest: self.remote.path(_place(key, manifest, name))
            for name, digest in manifest["files"].items()
        }

    def _manifest(self, key: str) -> dict[str, Any] | None:
        manifest = self.remote.read_json(f"objects/{key}/manifest.json")
        return manifest if is_manifest(manifest, key) and _is_safe(manifest) else None

    def _push(self, artifact: Artifact) -> None:
        """Upload it unless it is there: files first, the manifest last."""
        key = artifact.key
        if key in self._there or (key not in self._damaged and self._manifest(key) is not None):
            self._there.add(key)
            return
        manifest = {**artifact.manifest, UPLOAD: secrets.token_hex(4)}
        self._tell_of("uploading", manifest)
        self.remote.put((artifact.folder / name, _place(key, manifest, name)) for name in manifest["files"])
        self.remote.write_json(f"objects/{key}/manifest.json", manifest)
        self._damaged.discard(key)
        self._there.add(key)

    def _fetch(self, key: str) -> Artifact | None:
        """Bring it into the cache; None where the remote lacks it, or a file is not what the manifest says."""
        if key in self._damaged or (manifest := self._manifest(key)) is None:
            return None
        partial = self._partial(key)
        self._check_room(manifest)
        self._tell_of("fetching", manifest)
        try:
            if wrong := self._download(manifest, partial):
                self._damaged.add(key)
                self.tell(
                    f"{self.remote.url}: {manifest['step']} {key} is damaged ({wrong}); it is made again"
                )
                return None
            del manifest[UPLOAD]
            write_json(partial / "manifest.json", manifest)
            target = self.root / "objects" / key
            try:
                os.rename(partial, target)
            except OSError:
                if not target.exists():  # else another process has brought it meanwhile
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self.digests.remember({target / name: digest for name, digest in manifest["files"].items()})
        self._there.add(key)
        return Artifact(key, target, manifest)

    def _download(self, manifest: dict[str, Any], folder: Path) -> str | None:
        """Its files into the folder; the name of one that is missing or changed, or None."""
        files = manifest["files"]
        key = manifest["key"]
        try:
            self.remote.get((_place(key, manifest, name), folder / name) for name in files)
        except FileNotFoundError as error:
            return f"{error} is missing"
        return next(
            (f"{name} changed" for name, digest in files.items() if sha256(folder / name) != digest), None
        )

    def _partial(self, key: str) -> Path:
        """A new folder to fetch into; what killed processes left of the same key goes."""
        for left in (self.root / "work").glob(f"fetching-{key}-*"):
            if not _is_alive(int(left.name.split("-")[2])):
                shutil.rmtree(left, ignore_errors=True)
        folder = self.root / "work" / f"fetching-{key}-{os.getpid()}-{time.time_ns()}"
        folder.mkdir()
        return folder

    def _check_room(self, manifest: dict[str, Any]) -> None:
        size, free = sum(manifest["sizes"].values()), shutil.disk_usage(self.root).free
        if size > free:
            raise ResourceError(
                f"fetching {manifest['step']} takes {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
                where=self.root, mend="Free some space, or set DTM_CACHE to a folder of another disk",
            )  # fmt: skip

    def _tell_of(self, doing: str, manifest: dict[str, Any]) -> None:
        if (size := sum(manifest["sizes"].values())) >= GROSS:
            self.tell(f"  {doing} {manifest['step']}, {size / 1e9:.1f} GB: {self.remote.url}")


def open_store(place: Path | str, *, where: object = None) -> Store:
    """The store in a folder or at a URL."""
    return MirroredStore(str(place), where=where) if is_url(place) else Store(place)


def _place(key: str, manifest: dict[str, Any], name: str) -> str:
    return f"objects/{key}/{manifest[UPLOAD]}/{name}"


def _is_safe(manifest: dict[str, Any]) -> bool:
    """Whether all that it names stays below its folder: it came from outside."""
    names = [*manifest["files"], manifest.get(UPLOAD) or ".."]
    return not any(name.startswith("/") or ".." in name.split("/") for name in names)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
