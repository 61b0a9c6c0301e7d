"""`dtm extend RUN DATA`: a run of the same file with more data or less, whose known rows stay in their portions."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dtm.config import RunFile, folder_of
from dtm.foundations.errors import ConfigError, DataError, MissingInput
from dtm.foundations.files import read_json, write_text
from dtm.foundations.launch import Launcher
from dtm.foundations.mirror import open_store
from dtm.foundations.store import Step
from dtm.foundations.types import Examples
from dtm.foundations.urls import is_url
from dtm.foundations.yaml import Document, assign
from dtm.pipeline.checks import check
from dtm.pipeline.flow import run
from dtm.pipeline.ids import read_ids, removed_of
from dtm.pipeline.kept import Kept, read_kept
from dtm.pipeline.mirroring import here
from dtm.pipeline.origin import reopen

KEPT, REMOVED = "kept.csv", "removed.txt"  # in the new run's folder: it stands without the old one
Data = str | Path | Mapping[str, Any]


@dataclass(frozen=True)
class Extension:
    """A run file to be: its values but for `keep` and `remove`, which are files beside it."""

    values: dict[str, Any]
    root: Path
    kept: Path
    removed: frozenset[str]

    @property
    def output_dir(self) -> Path:
        """On this machine."""
        return folder_of(self.values["output_dir"])

    def file(self, folder: Path) -> RunFile:
        """The run file with its two files in that folder."""
        import yaml

        values = {**self.values, "disperse": {**self.values["disperse"], "keep": str(folder / KEPT)}}
        if self.removed:
            values["remove"] = str(folder / REMOVED)
        file = RunFile(Document(values, text=yaml.safe_dump(values, sort_keys=False)))
        file.root = self.root
        return file

    def write(self, folder: Path) -> None:
        """Its two files."""
        shutil.copyfile(self.kept, folder / KEPT)
        if self.removed:
            write_text(folder / REMOVED, "".join(f"{one}\n" for one in sorted(self.removed)))


def extend(
    run_folder: Path | str,
    data: Data | Sequence[Data] = (),
    *,
    remove: Path | str | None = None,
    new: str = "join",
    output_dir: Path | str | None = None,
    settings: Sequence[str] = (),
    dry_run: bool = False,
    quiet: bool = False,
    command: str = "",
    launcher: Launcher | None = None,
) -> dict[str, Any]:
    """Run a finished run's file again with `data` added and the rows of the ids in the file `remove` taken out.

    Known rows stay in their portions; new ones `join` them or form a `portion`. Only sub-models whose rows
    changed train. Goes into a folder of its own, by default RUN-extended, and returns what `dtm.run` does, or
    with `dry_run` the plan; `launcher` as there. Raises DtmError before work: for what is no run with portions,
    unknown ids, data without a new row, or when nothing of RUN would be left.
    """
    folder = here(run_folder).absolute()
    place = str(run_folder) if is_url(run_folder) else None
    extension = _planned(folder, place, _listed(data), remove, new, output_dir, settings)
    out = extension.output_dir
    with TemporaryDirectory() as scratch:
        extension.write(Path(scratch))
        check(extension.file(Path(scratch)))
        _check_folder(extension, Path(scratch), folder)
    file = extension.file(out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "run.yaml", file.document.text)
    extension.write(out)
    return run(file, dry_run=dry_run, quiet=quiet, command=command, launcher=launcher)


def _listed(data: Data | Sequence[Data]) -> list[dict[str, Any]]:
    """The entries to add; a path is one of the current folder where there is such a file, else it may be a hub id."""
    several = [data] if isinstance(data, str | Path | Mapping) else list(data)
    entries = [dict(one) if isinstance(one, Mapping) else {"path": one} for one in several]
    for entry in entries:
        path = Path(str(entry.get("path", ""))).expanduser()
        entry["path"] = str(path.absolute()) if path.exists() else str(entry.get("path", ""))
    return entries


def _planned(
    folder: Path, url: str | None, entries: list[dict[str, Any]], remove: Path | str | None, new: str,
    output_dir: Path | str | None, settings: Sequence[str],
) -> Extension:  # fmt: skip
    """The new run's file, checked against what RUN holds, which stands in `folder`, and perhaps at a URL."""
    before = reopen(folder, url)
    kept = read_kept(folder)
    if not entries and remove is None:
        raise ConfigError("there is nothing to add and nothing to remove", where="dtm extend",
                          mend="Name a data file, or `--remove IDS.txt`")  # fmt: skip
    if new == "portion" and not entries:
        raise ConfigError("there is no new data to form a portion", where="dtm extend --new portion",
                          mend="Name a data file")  # fmt: skip
    asked = read_ids(Path(remove).expanduser()) if remove is not None else frozenset()
    earlier = removed_of(before)
    known = _ids(before, folder)
    _check_ids(asked - earlier - known, remove, folder)
    left = _portions_left(kept, asked | earlier, folder)
    sources = _named(before.config.data, before.root)
    if entries:
        entries = _named(entries, before.root)
        _check_new(entries, known | earlier | asked, before)
    out = _beside(url or str(folder))
    if output_dir:
        out = str(output_dir) if is_url(output_dir) else str(Path(output_dir).expanduser().absolute())
    stale = {"new"} if kept.replays else {"new", "replay"}  # the last replayed row may have been removed
    disperse = {
        name: value
        for name, value in (before.document.values.get("disperse") or {}).items()
        if name not in stale
    }
    values = {
        **before.document.values, "data": [*sources, *entries],
        "disperse": {**disperse, "k": left + (new == "portion"), "new": new},
        "output_dir": out, "store": str(before.store),
    }  # fmt: skip
    for setting in settings:
        assign(values, setting)
    return Extension(values, before.root, kept.file, asked | earlier)


def _named(entries: Sequence[Mapping[str, Any]], root: Path) -> list[dict[str, Any]]:
    """The entries, each with the name of its source: new data of a known name is more of that source."""
    from dtm.data import resolve

    sources = resolve(entries, root)
    return [{**entry, "source": one.source} for entry, one in zip(entries, sources, strict=True)]


def _ids(before: RunFile, folder: Path) -> frozenset[str]:
    """Ids of all rows that RUN read and could use, without repeats; MissingInput where its store has them no more."""
    steps = read_json(folder / "steps.json") if (folder / "steps.json").exists() else {}
    fields = {name: value for name, value in steps.get("load", {}).items() if name != "format"}
    artifact = open_store(before.store).find(Step(fields.pop("step"), **fields)) if fields else None
    if artifact is None:
        raise MissingInput("the rows of this run are not in its store any more", where=folder,
                           mend=f"`dtm run {folder / 'run.yaml'}` reads them again")  # fmt: skip
    return frozenset(Examples.open(artifact.folder / "examples.arrow").column("family"))


def _check_ids(unknown: frozenset[str], remove: Path | str | None, folder: Path) -> None:
    if unknown:
        shown = ", ".join(sorted(unknown)[:3])
        raise DataError(
            f"{len(unknown)} of these ids {'is' if len(unknown) == 1 else 'are'} of no row of {folder}: {shown}",
            where=remove, mend="The ids of its rows stand in portions/assignment.csv",
        )  # fmt: skip


def _portions_left(kept: Kept, removed: frozenset[str], folder: Path) -> int:
    """How many portions keep a row."""
    import numpy as np

    stays = np.array([one.split("#")[0] not in removed for one in kept.ids.to_pylist()], bool)
    left = len(np.unique(kept.portion_N[stays & (kept.portion_N >= 0)]))
    if not left:
        raise DataError(f"every row of {folder} would be removed", where="dtm extend --remove",
                        mend="Start another run with `dtm run FILE`")  # fmt: skip
    return left


def _check_new(entries: list[dict[str, Any]], known: frozenset[str], before: RunFile) -> None:
    """Raises DataError where the data has no row that RUN lacks, or none that can be used."""
    from dtm.data import load, resolve

    with TemporaryDirectory() as scratch:
        examples, _ = load(resolve(entries, before.root), before.config.seed, Path(scratch) / "dropped.jsonl")
    if known.issuperset(examples.column("family")):
        paths = ", ".join(str(entry["path"]) for entry in entries)
        raise DataError(
            f"all its {len(examples):,} rows are in the run already, or were removed from it", where=paths
        )


def _beside(place: str) -> str:
    """RUN-extended; of that, RUN-extended-2, and so on."""
    if found := re.fullmatch(r"(.*-extended)(?:-(\d+))?", place):
        return f"{found[1]}-{int(found[2] or 1) + 1}"
    return f"{place.rstrip('/')}-extended"


def _check_folder(extension: Extension, scratch: Path, folder: Path) -> None:
    """Raises ConfigError where the new run's folder is RUN's, or holds another run that has begun."""
    out = extension.output_dir
    mend = "Choose another with --output-dir"
    if out.resolve() == folder.resolve():
        raise ConfigError("a run cannot be extended in its own folder", where=out, mend=mend)
    if not (out / "log.jsonl").exists():
        return
    names = {KEPT, REMOVED} if extension.removed else {KEPT}
    same = (out / "run.yaml").read_text(encoding="utf-8") == extension.file(out).document.text and all(
        (out / name).exists() and (out / name).read_bytes() == (scratch / name).read_bytes() for name in names
    )
    if not same:
        raise ConfigError("another run is here", where=out, mend=mend)
