"""`dtm gc`: free what no run folder names."""

from __future__ import annotations

from pathlib import Path

from dtm.foundations.errors import MissingInput
from dtm.foundations.files import walk
from dtm.foundations.store import Store
from dtm.foundations.urls import is_url
from dtm.pipeline.collect_remote import collect_remote
from dtm.pipeline.display import size
from dtm.pipeline.folder import named_keys


def collect(place: Path | str, *, dry_run: bool) -> str:
    """Remove artifacts and unfinished work that no run folder names and nobody holds; says what was freed."""
    if is_url(place):
        return collect_remote(str(place), dry_run=dry_run)
    root = Path(place).expanduser()
    if not (root / "objects").is_dir():
        raise MissingInput(
            "there is no store", where=root, mend="It stands beside the run folders: .dtm-store"
        )
    store = Store(root)
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
