"""`dtm gc`: free what no run folder names; `dtm verify`: read what is there."""

from __future__ import annotations

from pathlib import Path

from dtm.foundations.errors import MissingInput
from dtm.foundations.files import walk
from dtm.foundations.store import Store
from dtm.foundations.urls import is_url
from dtm.pipeline.collect_remote import collect_remote
from dtm.pipeline.display import Display, size
from dtm.pipeline.folder import named_keys


def collect(place: Path | str, *, dry_run: bool) -> str:
    """Remove artifacts and unfinished work that no run folder names and nobody holds; says what was freed."""
    if is_url(place):
        return collect_remote(str(place), dry_run=dry_run)
    store = _there(Path(place).expanduser())
    named, gone = named_keys(store.root)
    there = {path.name for place in ("objects", "work") for path in (store.root / place).iterdir()}
    doomed = there - named
    if dry_run:
        total = sum(
            path.stat().st_size for key in doomed for place in ("objects", "work")
            for _, path in walk(store.root / place / key)
        )  # fmt: skip
        return f"{len(doomed)} of {len(there)} entries would go, {size(total)}"
    freed = store.remove(doomed)
    for entry in gone:
        entry.unlink(missing_ok=True)
    return f"{len(doomed)} of {len(there)} entries removed, {size(freed)} freed"


def verify(root: Path, *, quiet: bool = False) -> tuple[str, list[str]]:
    """Read all of a store; what there was, for people, and the artifacts that were damaged and are put aside."""
    store, display = _there(root), Display(quiet=quiet)
    display.start("verify", "reading the store")
    try:
        damaged = store.verify(lambda done, total: display.update("verify", done, total))
    finally:
        display.close()
    read = sum(sum(artifact.manifest["sizes"].values()) for artifact in store.artifacts())
    count = sum(1 for _ in store.artifacts())
    lines = [f"{count} artifacts are whole, {size(read)}"]
    lines += [f"damaged: {one}. The next run that needs it makes it again" for one in damaged]
    return "\n".join(lines), damaged


def _there(root: Path) -> Store:
    if not (root / "objects").is_dir():
        raise MissingInput(
            "there is no store", where=root, mend="It stands beside the run folders: .dtm-store"
        )
    return Store(root)
