"""`dtm gc URL`: free what no run folder names, of a store that other machines write to as well.

Nothing there can be locked, so what is younger than a day stays: another machine may be about to name it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from dtm.foundations.errors import MissingInput
from dtm.foundations.mirror import UPLOAD
from dtm.foundations.remote import Remote
from dtm.foundations.urls import is_url
from dtm.pipeline.display import size
from dtm.pipeline.mirroring import REGISTRY, is_run

SPARED = 24 * 3600.0  # seconds
MANIFEST = "manifest.json"
Files = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Named:
    """The keys that run folders name; those folders are of other machines, or gone with their entry in the registry."""

    keys: frozenset[str]
    unseen: int
    gone: tuple[str, ...]


def collect_remote(url: str, *, dry_run: bool) -> str:
    """Remove old artifacts, uploads and checkpoints that no run folder names; says what was freed and what stays."""
    remote = Remote.open(url)
    objects, work = _by_key(remote.walk("objects")), _by_key(remote.walk("work"))
    if not objects and not work:
        raise MissingInput(
            "there is no store", where=url, mend="It stands beside the run folders: .dtm-store"
        )
    named, now = _named(remote), remote.clock()
    doomed: Files = {}
    for key, files in objects.items():
        doomed |= {f"objects/{key}/{name}": files[name] for name in _unused(remote, key, files, named, now)}
    for key, files in work.items():
        finished = MANIFEST in objects.get(key, {})
        if finished or (key not in named.keys and _is_old(files, now)):
            doomed |= {f"work/{key}/{name}": info for name, info in files.items()}
    total = size(sum(info["size"] for info in doomed.values()))
    entries = len({tuple(name.split("/")[:2]) for name in doomed})
    there = len(objects) + len(work)
    stays = ["what is younger than a day stays"]
    if named.unseen:
        stays.append(f"so does what runs on single machines name ({named.unseen}: see {url}/{REGISTRY})")
    if dry_run:
        return f"{entries} of {there} entries would go, {total}; {'; '.join(stays)}"
    remote.remove(name for name in doomed if name.endswith(f"/{MANIFEST}") and name.count("/") == 2)
    remote.remove(doomed)  # an artifact without its manifest is not there, however far this comes
    remote.remove(f"{REGISTRY}/{name}" for name in named.gone)
    return f"{entries} of {there} entries removed, {total} freed; {'; '.join(stays)}"


def _named(remote: Remote) -> Named:
    keys: set[str] = set()
    unseen, gone = 0, []
    for name in remote.walk(REGISTRY):
        entry = remote.read_json(f"{REGISTRY}/{name}") or {"folder": "", "keys": []}
        if not is_url(entry["folder"]):
            unseen += 1
        elif not is_run(Remote.open(entry["folder"])):
            gone.append(name)
            continue
        keys |= set(entry["keys"])
    return Named(frozenset(keys), unseen, tuple(gone))


def _unused(remote: Remote, key: str, files: Files, named: Named, now: float) -> list[str]:
    """Of an artifact that nobody names, all files; of another, those that its manifest does not mean."""
    if not _is_old(files, now):
        return []
    if MANIFEST not in files or key not in named.keys:
        return list(files)
    uploads = {name.split("/")[0] for name in files if "/" in name}
    if len(uploads) < 2:
        return []
    manifest = remote.read_json(f"objects/{key}/{MANIFEST}") or {}
    kept = manifest.get(UPLOAD)
    return [name for name in files if kept and "/" in name and name.split("/")[0] != kept]


def _is_old(files: Files, now: float) -> bool:
    return all(now - info["modified"] > SPARED for info in files.values())


def _by_key(files: Files) -> dict[str, Files]:
    found: dict[str, Files] = defaultdict(dict)
    for path, info in files.items():
        key, _, name = path.partition("/")
        found[key][name] = info
    return found
