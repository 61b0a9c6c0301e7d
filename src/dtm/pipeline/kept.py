"""Portions kept from another run (`disperse.keep`): read before any work, and found among the rows by id."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtm.config import RunFile
from dtm.foundations.errors import ConfigError, MissingInput
from dtm.foundations.types import Examples
from dtm.foundations.urls import is_url
from dtm.pipeline.mirroring import here
from dtm.pipeline.sharing import ALL

ASSIGNMENT = "portions/assignment.csv"
UNKNOWN, REPLAYED = -1, -2  # in place of a row's portion


@dataclass(frozen=True)
class Kept:
    """Row ids with their portions, 0 to k - 1 in the order of the file's `numbers`, or REPLAYED.

    A portion's `lineage` is the number that it had where it was first made: the seeds of its sub-model come from
    it, so that the sub-model stays as it is where portions before it are gone.
    """

    file: Path
    ids: Any  # pyarrow strings [N]
    portion_N: Any  # int64 [N]
    numbers: tuple[int, ...]
    lineage: tuple[int, ...]
    copies: Any  # int64 [E, 2]: places in `ids`, and other portions that have these rows as well

    @property
    def k(self) -> int:
        return len(self.lineage)

    @property
    def replays(self) -> bool:
        """Whether there are rows that every portion has."""
        return bool((self.portion_N == REPLAYED).any())

    def of(self, examples: Examples) -> Any:
        """The portion of each row, int64 [N], UNKNOWN or REPLAYED."""
        import numpy as np

        place_N = self._places(examples)
        return np.where(place_N < 0, UNKNOWN, self.portion_N[place_N])

    def copies_of(self, examples: Examples) -> Any:
        """The copies whose rows are among the examples: int64 [E, 2], rows and portions."""
        import numpy as np

        place_N, row_I = self._places(examples), np.full(len(self.ids), -1)
        row_I[place_N[place_N >= 0]] = np.flatnonzero(place_N >= 0)
        there = np.column_stack([row_I[self.copies[:, 0]], self.copies[:, 1]])
        return there[there[:, 0] >= 0]

    def _places(self, examples: Examples) -> Any:
        """Where each row stands among `ids`, int64 [N], or -1."""
        import pyarrow.compute as pc

        place = pc.index_in(examples.table.column("id").combine_chunks(), value_set=self.ids)
        return pc.fill_null(place, -1).to_numpy(zero_copy_only=False)


def kept_of(file: RunFile) -> Kept | None:
    """What `disperse.keep` names. Raises MissingInput or ConfigError for what is no run, or has no portions."""
    section, where = file.config.disperse, file.where
    if section.keep is None:
        if "new" in section.model_fields_set:
            raise ConfigError("it says what becomes of new rows, and no portions are kept",
                              where=where("disperse.new"), mend="Add disperse.keep, or leave it out")  # fmt: skip
        return None
    path = located(file, section.keep)
    if path.is_dir() and path.resolve() == file.output_dir.resolve():
        raise ConfigError("a run would keep its own portions", where=where("disperse.keep"),
                          mend="Choose another output_dir")  # fmt: skip
    kept = read_kept(path, where=where("disperse.keep"))
    if (
        section.new == "join"
        and "k" in section.model_fields_set
        and section.k != "auto"
        and section.k > kept.k
    ):
        raise ConfigError(
            f"{kept.k} portions are kept, and new rows join them, so there cannot be {section.k}",
            where=where("disperse.k"), mend=f"Set k to {kept.k}, or `new: portion`",
        )  # fmt: skip
    return kept


def _said(section: Any) -> bool:
    """Whether the run file says how many portions there are."""
    return "k" in section.model_fields_set and section.k != "auto"


def located(file: RunFile, name: str) -> Path:
    """A run's URL, or a path of the run file: below its root or the current folder, or moved along with the run."""
    if is_url(name):
        return here(name)
    places = (file.root / name, Path(name).expanduser(), file.output_dir / Path(name).name)
    return next((place for place in places if place.exists()), places[0])


def read_kept(path: Path, *, where: object = None) -> Kept:
    """A finished run's portions by its folder, or a CSV file with the columns id and portion."""
    if not path.exists():
        raise MissingInput(f"there is no {path}", where=where, mend="Name the folder of a finished run")
    file = path / ASSIGNMENT if path.is_dir() else path
    if not file.exists():
        raise MissingInput(f"no run with portions was finished in {path}", where=where,
                           mend="`dtm run FILE` of a recipe that disperses makes one")  # fmt: skip
    return _read(file, where)


def _read(file: Path, where: object) -> Kept:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as csv

    kinds = csv.ConvertOptions(column_types={
        "id": pa.string(), "portion": pa.int64(), "lineage": pa.int64(), "also": pa.string(),
    })  # fmt: skip
    try:
        table = csv.read_csv(
            file, convert_options=kinds, parse_options=csv.ParseOptions(newlines_in_values=True)
        )
        ids, number = table["id"].combine_chunks(), table["portion"].combine_chunks()
    except (pa.ArrowException, KeyError) as error:
        raise ConfigError(f"{file} holds no portions: {' '.join(str(error).split())}", where=where,
                          mend="It needs the columns id and portion") from None  # fmt: skip
    also = table["also"].to_pylist() if "also" in table.column_names else []
    replayed_N = np.array([one == ALL for one in also] or [False] * len(ids), bool)
    own_N = pc.is_valid(number).to_numpy(zero_copy_only=False)
    if not own_N.any() or ids.null_count or (own_N == replayed_N).any() or pc.min(number).as_py() < 0:
        raise ConfigError(f"{file} has no row, or one without id or portion", where=where)
    if len(ids.unique()) != len(ids):
        raise ConfigError(f"{file} names a row twice", where=where)
    whole = table.filter(pa.array(own_N))
    numbers, first, part = np.unique(whole["portion"].to_numpy(), return_index=True, return_inverse=True)
    lineage = whole["lineage"].to_numpy()[first] if "lineage" in table.column_names else numbers
    portion_N = np.full(len(ids), REPLAYED)
    portion_N[own_N] = part
    copies = np.array(list(_copies(file, also, portion_N, numbers.tolist(), where)), np.int64).reshape(-1, 2)
    return Kept(file, ids, portion_N, tuple(numbers.tolist()), tuple(lineage.tolist()), copies)


def _copies(
    file: Path, also: list[str], portion_N: Any, numbers: list[int], where: object
) -> Iterator[tuple[int, int]]:
    """(place, portion) of each number under `also`. Raises ConfigError for one that is no other portion."""
    known = {str(number): portion for portion, number in enumerate(numbers)}
    for place, text in enumerate(also):
        for word in text.split() if text and text != ALL else ():
            if word not in known or known[word] == portion_N[place]:
                raise ConfigError(f"{file}: {word!r} under `also` is no other portion", where=where,
                                  mend=f"It holds numbers of portions with spaces between, or `{ALL}`")  # fmt: skip
            yield place, known[word]


def settled(file: RunFile, kept: Kept | None) -> RunFile:
    """The run file with the `k` that kept portions imply, where it says none: theirs, and one for new rows apart."""
    section = file.config.disperse
    if kept is None or _said(section):
        return file
    k = kept.k + (section.new == "portion")
    whole = copy(file)
    whole.config = file.config.model_copy(update={"disperse": section.model_copy(update={"k": k})})
    return whole
