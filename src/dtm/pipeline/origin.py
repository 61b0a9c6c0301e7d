"""Where a run folder's run file came from: its relative paths are relative to that place, not to the run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dtm.config import RunFile
from dtm.foundations.errors import MissingInput
from dtm.foundations.files import read_json, write_json
from dtm.foundations.yaml import load

ORIGIN = "origin.json"


def remember(file: RunFile) -> None:
    """Write `origin.json` into the run folder: the run file's place, what its paths are relative to, and the store."""
    path = file.document.path
    origin = {
        "file": str(path.absolute()) if path else None,
        "root": str(file.root),
        "store": str(file.store),
    }
    write_json(file.output_dir / ORIGIN, origin)


def placed(file: RunFile) -> RunFile:
    """A run file that was read; the copy of it that stands in a run folder has its paths where they were."""
    path = file.document.path
    origin = path.parent / ORIGIN if path and path.name == "run.yaml" else None
    if origin and origin.exists() and (root := Path(read_json(origin)["root"])).is_dir():
        file.root = root
    return file


def reopen(folder: Path, output_dir: str | None = None) -> RunFile:
    """The run file of a run folder as it was run: `-s` settings applied, paths and store where they were.

    The folder itself may have been moved; `output_dir` is its URL, if it has one. Raises MissingInput where no run was.
    """
    for name in ("run.yaml", ORIGIN):
        if not (folder / name).exists():
            raise MissingInput(f"there is no {name}, so no run was here", where=folder,
                               mend="`dtm run FILE` makes it")  # fmt: skip
    origin = read_json(folder / ORIGIN)
    document = load(folder / "run.yaml")
    values = {**document.values, "output_dir": output_dir or str(folder.absolute()), "store": origin["store"]}
    file = RunFile(replace(document, values=values, path=Path(origin["file"]) if origin["file"] else None))
    file.root = Path(origin["root"])
    return file
