"""Files that are either whole or absent: canonical JSON, atomic writes, links, digests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
HASHING, MANY = 8, 64 << 20  # files hashed at a time, where there are bytes enough


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same value gives the same bytes; a NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write sorted, indented JSON atomically."""
    write_text(path, json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write beside the target, flush to disk, then rename: a reader sees the old or the new file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def sha256(path: Path) -> str:
    """sha256 of a file's bytes, hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_each(files: Mapping[str, Path]) -> dict[str, str]:
    """sha256 of each file, by the same names; several files at a time, for one takes one core."""
    if len(files) < 2 or sum(path.stat().st_size for path in files.values()) < MANY:
        return {name: sha256(path) for name, path in files.items()}
    with ThreadPoolExecutor(HASHING) as pool:
        return dict(zip(files, pool.map(sha256, files.values()), strict=True))


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder as (relative posix name, path), sorted by name."""
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root) / name
            found.append((path.relative_to(folder).as_posix(), path))
    yield from sorted(found)


def link(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it where the file system cannot; the target is replaced atomically.

    A symbolic link is followed first: the hub's cache is made of them, and a hard link to a relative
    one would dangle.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)
    temporary.unlink(missing_ok=True)  # renaming one link of a file over another of its links does nothing


def link_tree(source: Path, target: Path, *, skip: frozenset[str] = frozenset()) -> None:
    """Make `target` show the files of `source`, hard-linked; files of the target that it lacks go."""
    wanted = {name: path for name, path in walk(source) if name not in skip}
    for name, path in wanted.items():
        place = target / name
        if not (place.exists() and os.path.samefile(place, path)):
            link(path, place)
    for name, path in list(walk(target)) if target.exists() else []:
        if name not in wanted:
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
