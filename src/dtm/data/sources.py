"""The `data:` entries of a run file, checked before any work: every mistake at once, every input opened."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from dtm.data.formats import Format, fitting, named
from dtm.data.hub import NAME, HubData
from dtm.data.readers import SNIFFED, SUFFIXES, DataFile, opened, suffix
from dtm.foundations.errors import ConfigError, DataError, DtmError, MissingInput, several
from dtm.foundations.files import walk
from dtm.foundations.registry import unknown
from dtm.foundations.store import Digests

VERSION = 1  # of the reading: raise it when the same files give other examples
HUB_KEYS = ("revision", "split", "subset")
KEYS = ("path", "source", "license", "format", "fraction", "limit", "weight", *HUB_KEYS)
# What `save_to_disk` and the hub put beside the rows.
BOOKKEEPING = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})


@dataclass(frozen=True)
class Source:
    """One entry: where its rows are, how to read them, and how many to take."""

    source: str
    inputs: tuple[tuple[DataFile, Format], ...] = ()  # sorted by name
    hub: HubData | None = None
    asked: str | Mapping[str, str] | None = None  # the entry's own `format`
    license: str | None = None
    fraction: float = 1.0
    limit: int | None = None
    weight: float = 1.0
    ignored: tuple[str, ...] = ()  # files of a folder that hold no rows we can read

    def fingerprint(self, digests: Digests) -> dict[str, Any]:
        """What the rows depend on, for a store key: contents, never paths.

        Raises MissingInput for a hub id whose commit cannot be asked for.
        """
        found: dict[str, Any] = {"version": VERSION, "source": self.source, "license": self.license,
                                 "fraction": float(self.fraction), "limit": self.limit,
                                 "weight": float(self.weight)}  # fmt: skip
        if self.hub:
            found["hub"] = {"name": self.hub.name, "commit": self.hub.commit, "subset": self.hub.subset,
                            "split": self.hub.split, "format": self.asked}  # fmt: skip
        else:
            found["files"] = [
                {"sha256": digests.of(file.path), "kind": file.kind, "format": self._format_key(one)}
                for file, one in self.inputs
            ]
        return found

    def opened(self) -> Iterator[tuple[DataFile | HubData, Format]]:
        """The inputs with their formats; a hub id is looked at now. Raises DtmError."""
        if self.hub is None:
            yield from self.inputs
            return
        asked = None if self.asked is None else named(self.asked, where=f"{self.hub.name}.format")
        rows = [row for _, row in islice(self.hub.rows(), SNIFFED)]
        yield self.hub, fitting(rows, asked, where=self.hub.name)

    def _format_key(self, one: Format) -> Any:
        return dict(self.asked) if isinstance(self.asked, Mapping) else one.name

    @property
    def size(self) -> int:
        """Bytes of all its files, as they are on disk; 0 for a hub id."""
        return sum(file.path.stat().st_size for file, _ in self.inputs)


def resolve(entries: Sequence[Mapping[str, Any]], root: Path) -> list[Source]:
    """Check the entries of `data:` and open every input; raises all mistakes at once.

    A path is looked for below `root`, the run file's folder, and then below the current one. What
    is no path but reads `owner/name` is a hub id, which is only looked up at `load`.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise ConfigError("there is no data", where="data", mend="Give a list of entries, each with a `path`")
    errors: list[DtmError] = []
    sources = [_source(entry, root, f"data[{number}]", errors) for number, entry in enumerate(entries)]
    found = [source for source in sources if source is not None]
    errors += _same_names(found, entries) if not errors else []
    if errors:
        raise several(errors)
    return found


def _source(entry: Any, root: Path, where: str, errors: list[DtmError]) -> Source | None:
    """One entry's source, or None and what is wrong with it in `errors`."""
    before = len(errors)
    asked = _checked(entry, where, errors)
    if len(errors) > before:
        return None
    said = {key: value for key, value in entry.items() if value is not None}
    shown = str(said["path"])
    path = next((place for place in (root / shown, Path(shown).expanduser()) if place.exists()), None)
    settings = {key: said[key] for key in ("license", "fraction", "limit", "weight") if key in said}
    settings["asked"] = said.get("format")
    of_hub = {key: said[key] for key in HUB_KEYS if key in said}
    if path is not None:
        errors += [
            ConfigError(
                f"`{key}` is for data of the hub, and {shown!r} is on this disk", where=f"{where}.{key}"
            )
            for key in of_hub
        ]
        inputs, ignored = _inputs(path, shown, asked, errors)
        return Source(said.get("source") or _stem(path), inputs, ignored=ignored, **settings)
    if NAME.fullmatch(shown) and suffix(shown) not in SUFFIXES:
        return Source(said.get("source") or shown, hub=HubData(shown, **of_hub), **settings)
    mend = f"Paths are looked for below {root.absolute()} and the current folder"
    errors.append(MissingInput(f"there is no file or folder {shown!r}", where=f"{where}.path", mend=mend))
    return None


def _checked(entry: Any, where: str, errors: list[DtmError]) -> Format | None:
    """The format asked for, if any; wrong keys and values are added to `errors`."""
    if not isinstance(entry, Mapping):
        errors.append(ConfigError(f"{entry!r} is no entry", where=where, mend=f"Write `- {{path: {entry}}}`"))
        return None
    unknowns = [str(key) for key in entry if key not in KEYS]
    errors += [unknown("key of a data entry", key, KEYS, where=where) for key in unknowns]
    errors += _wrong_values({key: value for key, value in entry.items() if value is not None}, where)
    asked = entry.get("format")
    try:
        return named(asked, where=f"{where}.format") if isinstance(asked, str | Mapping) else None
    except DtmError as error:
        errors.append(error)
        return None


def _wrong_values(said: Mapping[str, Any], where: str) -> list[DtmError]:
    """Errors for values that cannot be; keys that nobody knows are not looked at."""
    number = (int, float)
    rules = {
        "path": (lambda v: isinstance(v, str | Path) and str(v) != "", "a path or a hub id"),
        "source": (lambda v: isinstance(v, str) and v.strip() != "", "a name"),
        "license": (lambda v: isinstance(v, str), "text"),
        "format": (lambda v: isinstance(v, str | Mapping), "a format's name, or columns by what they hold"),
        "fraction": (lambda v: _is(v, number) and 0 < v <= 1, "a number above 0 and at most 1"),
        "limit": (lambda v: _is(v, int) and v >= 1, "a whole number of rows, at least 1"),
        "weight": (lambda v: _is(v, number) and 1 <= v < math.inf,
                   "a number of at least 1 (to take fewer rows, say `fraction`)"),
        **dict.fromkeys(HUB_KEYS, (lambda v: isinstance(v, str) and v != "", "text")),
    }  # fmt: skip
    errors: list[DtmError] = []
    if "path" not in said:
        errors.append(ConfigError("the entry has no `path`", where=where))
    for key, (fits, kind) in rules.items():
        if key in said and not fits(said[key]):
            errors.append(ConfigError(f"{said[key]!r} is not {kind}", where=f"{where}.{key}"))
    return errors


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _stem(path: Path) -> str:
    """A source's name where the entry gives none: the file's without its suffixes, or the folder's."""
    name, ending = Path(os.path.abspath(path)).name, suffix(path.name)
    return name if path.is_dir() or not ending else name[: name.lower().rindex(ending)] or name


def _inputs(
    path: Path, shown: str, asked: Format | None, errors: list[DtmError]
) -> tuple[tuple[tuple[DataFile, Format], ...], tuple[str, ...]]:
    """The data files at a path with their formats, and names of those that are none."""
    files = [(path, shown)] if not path.is_dir() else []
    ignored = []
    for name, place in _visible(path) if path.is_dir() else ():
        if suffix(name) in SUFFIXES and place.name not in BOOKKEEPING:
            files.append((place, f"{shown.rstrip('/')}/{name}"))
        else:
            ignored.append(name)
    if not files:
        mend = f"They end in {', '.join(SUFFIXES)}, or that with .gz or .zst"
        errors.append(DataError("the folder holds no data files", where=shown, mend=mend))
    inputs = []
    for place, name in files:
        try:
            inputs.append(_input(place, name, asked))
        except OSError as error:  # a DtmError too, where it is a MissingInput
            errors.append(DataError(f"the file cannot be opened: {error.strerror or error}", where=name))
        except DtmError as error:
            errors.append(error)
    return tuple(inputs), tuple(ignored)


def _visible(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files below a folder, sorted by name, without hidden ones (caches, .gitattributes)."""
    for name, place in walk(folder):
        if not any(part.startswith(".") for part in name.split("/")):
            yield name, place


def _input(path: Path, name: str, asked: Format | None) -> tuple[DataFile, Format]:
    """The file, its first rows tried; raises DtmError."""
    file = opened(path, name)
    good, broken = file.first_rows()
    if not good:
        if not broken:
            raise DataError("the file holds no row", where=name)
        line, first = broken[0]
        what = f"none of its first {len(broken)} rows can be read: {first.reason} {first.detail}"
        raise DataError(what.rstrip(), where=f"{name}:{line}")
    return file, fitting(good, asked, where=name)


def _same_names(sources: Sequence[Source], entries: Sequence[Mapping[str, Any]]) -> list[DtmError]:
    """Errors for entries that would share a name without having asked for it."""
    names = [source.source for source in sources]
    mend = "Give each its `source`; entries may share one if all say so"
    return [
        ConfigError(f"more than one entry would be called {name!r}", where=f"data[{number}]", mend=mend)
        for number, (name, entry) in enumerate(zip(names, entries, strict=True))
        if names.count(name) > 1 and not entry.get("source")
    ]
