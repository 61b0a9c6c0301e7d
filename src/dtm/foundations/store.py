"""The store: every step's result under a key of all that it depends on.

    store/
      objects/<key>/          outputs and manifest.json; whole, or not there
      work/<key>/output/      what a step is writing; survives a kill, resumed by the next owner
      work/<key>/scratch/     checkpoints and the like; freed when the step is done
      work/<key>/lock         held with flock by the worker process that writes there
      locks/<key>             held with flock while somebody works on the key
      digests.sqlite          sha256 of files by (path, size, mtime, inode)
      llm.sqlite              answers of language models by content (foundations/llm)

A key is the sha256 of a `Step`: its name and version, the settings that it reads, its seed, the
numerics it runs under, and the *content digests* of its inputs. Paths never enter a key.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from dtm.foundations.digests import Digests
from dtm.foundations.errors import StoreError
from dtm.foundations.files import (
    canonical,
    read_json,
    sha256_each,
    sync_folder,
    text_digest,
    walk,
    write_json,
)

FORMAT = 1
# What differs between two runs that made the same thing, or tells only how it was made.
EXEMPT = frozenset({"manifest.json", "training_args.bin", "log.jsonl", "timing.json"})


@dataclass(frozen=True)
class Step:
    """What a result depends on; two steps with the same fields have the same result."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    numerics: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1

    @property
    def fields(self) -> dict[str, Any]:
        """All that enters the key, as plain JSON values."""
        return {"format": FORMAT, "step": self.name, "version": self.version, "settings": dict(self.settings),
                "inputs": dict(self.inputs), "seed": self.seed, "numerics": dict(self.numerics)}  # fmt: skip

    @property
    def key(self) -> str:
        return text_digest(canonical(self.fields))[:32]


@dataclass(frozen=True)
class Artifact:
    """A finished step: its folder, its manifest, and the digest of its content."""

    key: str
    folder: Path
    manifest: dict[str, Any]

    @property
    def digest(self) -> str:
        return self.manifest["digest"]

    @property
    def facts(self) -> dict[str, Any]:
        """What the step reported about itself: rows, tokens, steps, ..."""
        return self.manifest["facts"]

    @property
    def pending(self) -> bool:
        """Whether it only stands for what a planned step will make."""
        return self.manifest.get("pending", False)


class Claim:
    """The right to work on a key, until `publish` or `release`."""

    def __init__(self, store: Store, step: Step, lock: int, artifact: Artifact | None) -> None:
        self.store, self.step, self.artifact, self._lock = store, step, artifact, lock
        self.work = store.root / "work" / step.key
        self.output, self.scratch = self.work / "output", self.work / "scratch"
        self.job_lock = self.work / "lock"  # what a worker holds while it writes here
        self.started = time.monotonic()
        if artifact is None:
            self.output.mkdir(parents=True, exist_ok=True)
            self.scratch.mkdir(exist_ok=True)
            with open(self.job_lock, "a") as file:  # a killed owner's worker may take a moment to leave
                fcntl.flock(file, fcntl.LOCK_EX)

    def empty(self) -> None:
        """Drop what a killed owner left in the output; its scratch stays."""
        shutil.rmtree(self.output)
        self.output.mkdir()

    def publish(self, facts: Mapping[str, Any] | None = None) -> Artifact:
        """Write the manifest last, rename into place, free the scratch.

        Hidden files are what a killed writer left half-written (safetensors' `.tmpXXXXXX`, our own
        `.NAME.PID.tmp`): they are no output, and would make the bytes depend on where the kill fell.
        """
        for name, path in walk(self.output):
            if Path(name).name.startswith("."):
                path.unlink()
        files = sha256_each({name: path for name, path in walk(self.output) if name != "manifest.json"})
        content = {name: value for name, value in files.items() if Path(name).name not in EXEMPT}
        manifest = {
            **self.step.fields,
            "key": self.step.key,
            "files": files,
            "sizes": {name: (self.output / name).stat().st_size for name in files},
            "facts": dict(facts or {}),
            "digest": text_digest(canonical(content)),
            "seconds": round(time.monotonic() - self.started, 3),
            "versions": versions(),
        }
        for _, path in walk(self.output):
            _flush(path)
        write_json(self.output / "manifest.json", manifest)
        manifest = read_json(self.output / "manifest.json")  # as a later run will find it, keys in order
        sync_folder(self.output)
        target = self.store.root / "objects" / self.step.key
        target.parent.mkdir(exist_ok=True)
        os.rename(self.output, target)
        sync_folder(target.parent)
        self.store.digests.remember({target / name: digest for name, digest in files.items()})
        shutil.rmtree(self.work, ignore_errors=True)
        self.artifact = Artifact(self.step.key, target, manifest)
        self.store.published(self.artifact)
        self.release()
        return self.artifact

    def adopt(self) -> Artifact | None:
        """Take what another machine published meanwhile, if it did, and free the scratch."""
        self.artifact = self.store.find(self.step)
        if self.artifact is not None:
            shutil.rmtree(self.work, ignore_errors=True)
            self.release()
        return self.artifact

    def release(self) -> None:
        """Let others have the key; unfinished work stays for the next owner."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


class Store:
    """A folder of artifacts, shared by any number of runs and processes of one machine."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        try:
            for name in ("objects", "work", "locks"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the store cannot be made here: {error.strerror}", where=self.root,
                mend="Set `store:` to a folder that can be written",
            ) from None  # fmt: skip
        self.digests = Digests(self.root / "digests.sqlite")
        self.tell: Callable[[str], None] = lambda text: None  # hears of damage

    def find(self, step: Step) -> Artifact | None:
        """The finished artifact of that step, or None; one whose files changed is put aside."""
        folder = self.root / "objects" / step.key
        try:
            inode = folder.stat().st_ino
        except FileNotFoundError:
            return None
        manifest = read_manifest(folder)
        artifact = None if manifest is None else Artifact(step.key, folder, manifest)
        harm = "its manifest is missing or cut short" if artifact is None else self.harm(artifact)
        if artifact is None or harm is not None:
            self._put_aside(folder, inode, f"{step.name} {step.key} in the store is damaged: {harm}")
            return None
        self._sweep(step.key)
        return artifact

    def peek(self, step: Step) -> Artifact | None:
        """What `find` would give, for a plan: its manifest is true, its files need not be here."""
        return self.find(step)

    def published(self, artifact: Artifact) -> None:
        """Called with each new artifact, its key still held."""

    def harm(self, artifact: Artifact, *, reread: bool = False) -> str | None:
        """The first file that is gone, or has not the recorded size or sha256; None where all is whole.

        A sha256 is known by the file's stat; `reread` reads every byte, which finds what a failing disk changed.
        """
        for name, digest in artifact.manifest["files"].items():
            path = artifact.folder / name
            try:
                if path.stat().st_size != artifact.manifest["sizes"][name]:
                    return f"{name} has another size"
            except OSError:
                return f"{name} is missing"
            if (self.digests.reread(path) if reread else self.digests.of(path)) != digest:
                return f"{name} has other bytes than were written"
        return None

    def claim(self, step: Step, *, wait: Callable[[], None] | None = None) -> Claim:
        """Lock a key; where it is finished, the claim's `artifact` says so and the lock is free again.

        Another process at work on the same key is waited for; `wait` is called once before that.
        """
        if (artifact := self.find(step)) is not None:
            return Claim(self, step, -1, artifact)
        try:
            lock = self._lock(step.key)
        except BlockingIOError:
            if wait is not None:
                wait()
            lock = self._lock(step.key, block=True)
        artifact = self.find(step)
        if artifact is not None:
            os.close(lock)
            lock = -1
        return Claim(self, step, lock, artifact)

    def make(self, step: Step, build: Callable[[Claim], Mapping[str, Any] | None]) -> Artifact:
        """Find the step's artifact, or let `build` write into `claim.output` and publish it."""
        with self.claim(step) as claim:
            if claim.artifact is not None:
                return claim.artifact
            return claim.publish(build(claim))

    def verify(self, progress: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
        """Read every byte of every artifact; those that are damaged are put aside, so that the next run makes them
        again, and told of.
        """
        found = []
        folders = sorted((self.root / "objects").iterdir())
        for number, folder in enumerate(folders, 1):
            inode, manifest = folder.stat().st_ino, read_manifest(folder)
            harm = "its manifest is missing or cut short"
            name = "an artifact"
            if manifest is not None:
                name, harm = (
                    manifest["step"],
                    self.harm(Artifact(folder.name, folder, manifest), reread=True) or "",
                )
            if harm:
                found.append(f"{name} {folder.name}: {harm}")
                self._put_aside(folder, inode, f"{name} {folder.name} in the store is damaged: {harm}")
            progress(number, len(folders))
        return found

    def artifacts(self) -> Iterator[Artifact]:
        """All whose manifest can be read; whether their files are true, `harm` tells."""
        for folder in sorted((self.root / "objects").iterdir()):
            if (manifest := read_manifest(folder)) is not None:
                yield Artifact(folder.name, folder, manifest)

    def remove(self, keys: set[str]) -> int:
        """Delete objects and unfinished work of these keys that nobody holds; returns bytes freed."""
        freed = 0
        for key in sorted(keys):
            with self._unheld(key) as free:
                for folder in (self.root / "objects" / key, self.root / "work" / key) if free else ():
                    freed += sum(path.stat().st_size for _, path in walk(folder) if path.stat().st_nlink == 1)
                    doomed = self.root / "work" / f"doomed-{key}-{secrets.token_hex(8)}"
                    if folder.exists():
                        os.rename(folder, doomed)  # never half there under its own name
                        shutil.rmtree(doomed)
        return freed

    @contextmanager
    def _unheld(self, key: str) -> Iterator[bool]:
        """Hold the key, and remove its lock file in the end; False where somebody else holds it."""
        try:
            lock = self._lock(key)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
            (self.root / "locks" / key).unlink(missing_ok=True)
        finally:
            os.close(lock)

    def _lock(self, key: str, *, block: bool = False) -> int:
        """A descriptor that holds the key's lock; raises BlockingIOError if it is held and `block` is off."""
        path = self.root / "locks" / key
        while True:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if block else fcntl.LOCK_NB))
                if _is_at(lock, path):
                    return lock  # else `gc` removed the lock file between open and flock
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)

    def _sweep(self, key: str) -> None:
        """Free the work folder that an owner left who was killed just after publishing."""
        work = self.root / "work" / key
        if work.exists():
            with self._unheld(key) as free:
                if free:
                    shutil.rmtree(work, ignore_errors=True)

    def _put_aside(self, folder: Path, inode: int, what: str) -> None:
        """Move a damaged artifact away and tell, unless somebody has put a new one in its place meanwhile."""
        aside = self.root / "work" / f"damaged-{folder.name}-{secrets.token_hex(8)}"
        with suppress(FileNotFoundError):
            if folder.stat().st_ino == inode:
                os.rename(folder, aside)
                self.tell(f"{what}. It is put aside and made again")


@cache
def versions() -> dict[str, str]:
    """Versions of the packages whose arithmetic shows in the results."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("disperse-then-merge", "torch", "transformers", "trl", "peft", "scikit-learn", "lm_eval"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


_KEYS = frozenset(
    {"step", "version", "settings", "inputs", "seed", "numerics", "files", "sizes", "facts", "digest"}
)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an artifact's folder, or None where it is missing, cut short or not ours."""
    try:
        manifest = read_json(folder / "manifest.json")
    except (OSError, ValueError):
        return None
    return manifest if is_manifest(manifest, folder.name) else None


def is_manifest(value: Any, key: str) -> bool:
    """Whether it is the manifest of that key, whole."""
    return isinstance(value, dict) and value.keys() >= _KEYS and value.get("key") == key


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the path still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
