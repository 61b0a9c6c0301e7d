"""Portions kept from another run (`disperse.keep`): read before any work, and met again when rows are dispersed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtm.config import RunFile
from dtm.foundations.errors import ConfigError, DataError, MissingInput
from dtm.foundations.registry import Bound
from dtm.foundations.types import Examples

ASSIGNMENT = "portions/assignment.csv"


@dataclass(frozen=True)
class Kept:
    """Row ids with their portions, 0 to k - 1 in the order of the file's `numbers`.

    A portion's `lineage` is the number that it had where it was first made: the seeds of its sub-model come from
    it, so that the sub-model stays as it is where portions before it are gone.
    """

    file: Path
    ids: Any  # pyarrow strings [N]
    portion_N: Any  # int64 [N]
    numbers: tuple[int, ...]
    lineage: tuple[int, ...]

    @property
    def k(self) -> int:
        return len(self.lineage)

    def of(self, examples: Examples) -> Any:
        """The portion of each row, int64 [N], or -1."""
        import numpy as np
        import pyarrow.compute as pc

        place = pc.index_in(examples.table.column("id").combine_chunks(), value_set=self.ids)
        place_N = pc.fill_null(place, -1).to_numpy(zero_copy_only=False)
        return np.where(place_N < 0, -1, self.portion_N[place_N])


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
    if section.new == "join" and "k" in section.model_fields_set and section.k > kept.k:
        raise ConfigError(
            f"{kept.k} portions are kept, and new rows join them, so there cannot be {section.k}",
            where=where("disperse.k"), mend=f"Set k to {kept.k}, or `new: portion`",
        )  # fmt: skip
    return kept


def located(file: RunFile, name: str) -> Path:
    """A path of the run file: below its root, below the current folder, or moved along with the run folder."""
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
    import pyarrow.csv as csv

    kinds = csv.ConvertOptions(column_types={"id": pa.string(), "portion": pa.int64(), "lineage": pa.int64()})
    try:
        table = csv.read_csv(
            file, convert_options=kinds, parse_options=csv.ParseOptions(newlines_in_values=True)
        )
        ids, number_N = table["id"].combine_chunks(), table["portion"].to_numpy()
    except (pa.ArrowException, KeyError) as error:
        raise ConfigError(f"{file} holds no portions: {' '.join(str(error).split())}", where=where,
                          mend="It needs the columns id and portion") from None  # fmt: skip
    if not len(ids) or ids.null_count or table["portion"].null_count or number_N.min() < 0:
        raise ConfigError(f"{file} has no row, or one without id or portion", where=where)
    if len(ids.unique()) != len(ids):
        raise ConfigError(f"{file} names a row twice", where=where)
    numbers, first, portion_N = np.unique(number_N, return_index=True, return_inverse=True)
    lineage = table["lineage"].to_numpy()[first] if "lineage" in table.column_names else numbers
    return Kept(file, ids, portion_N.astype(np.int64), tuple(numbers.tolist()), tuple(lineage.tolist()))


def settled(file: RunFile, kept: Kept | None) -> RunFile:
    """The run file with the `k` that kept portions imply, where it says none: theirs, and one for new rows apart."""
    section = file.config.disperse
    if kept is None or "k" in section.model_fields_set:
        return file
    k = kept.k + (section.new == "portion")
    whole = copy(file)
    whole.config = file.config.model_copy(update={"disperse": section.model_copy(update={"k": k})})
    return whole


def place(
    kept: Kept, bound: Bound, examples: Examples, k: int, seed: int, signals: Mapping[str, Any],
    new: str, where: Callable[[str], object],
) -> tuple[Any, dict[str, Any]]:  # fmt: skip
    """The portion of every row, int64 [N] in [0, k), and what became of the kept ones: facts for `growing`.

    Raises DataError where k does not fit the portions of which a row is left.
    """
    import numpy as np

    import dtm.disperse

    before_N = kept.of(examples)
    left = np.unique(before_N[before_N >= 0])
    fresh = k - len(left) if new == "portion" else 0
    if not len(left):
        raise DataError("no row of the kept portions is left", where=where("disperse.keep"),
                        mend="Leave disperse.keep out: this is another run")  # fmt: skip
    if new == "join" and len(left) != k:
        raise DataError(f"of {kept.k} kept portions {len(left)} have a row left, and disperse.k is {k}",
                        where=where("disperse.k"), mend=f"Set k to {len(left)}")  # fmt: skip
    if new == "portion" and fresh < 1:
        raise DataError(f"{len(left)} portions are kept, and disperse.k is {k}, so none is left for new rows",
                        where=where("disperse.k"), mend=f"Set k to {len(left) + 1}, or `new: join`")  # fmt: skip
    number_K = np.full(kept.k + 1, -1)  # the last is that of new rows
    number_K[left] = np.arange(len(left))
    portions_N = dtm.disperse.grow(bound, examples, number_K[before_N], seed, signals, fresh=fresh)
    was, known_N = [*left.tolist(), *[None] * fresh], before_N >= 0
    stayed_K, in_all_K = (np.bincount(one, minlength=k) for one in (portions_N[known_N], portions_N))
    before_K = np.bincount(kept.portion_N, minlength=kept.k)
    lineage = [kept.lineage[one] for one in left] + [max(kept.lineage) + 1 + one for one in range(fresh)]
    portions = [
        {"portion": one, "was": None if was[one] is None else kept.numbers[was[one]],
         "kept": int(stayed_K[one]), "joined": int(in_all_K[one] - stayed_K[one]),
         "left": 0 if was[one] is None else int(before_K[was[one]] - stayed_K[one])}
        for one in range(k)
    ]  # fmt: skip
    gone = [number for one, number in enumerate(kept.numbers) if one not in left]
    facts = {"kept": int(known_N.sum()), "joined": int((~known_N).sum()), "left": len(kept.ids) - int(known_N.sum()),
             "gone": gone, "portions": portions}  # fmt: skip
    return portions_N, {"growing": facts, "lineage": lineage}


def growing(cards: Mapping[str, Any], trained: Mapping[str, bool | None]) -> dict[str, Any] | None:
    """What results.json tells of kept portions; `trained` has, by sub-model, whether it was trained in this run."""
    facts = cards["disperse"].facts.get("growing") if "disperse" in cards else None
    if facts is None:
        return None
    told = {True: "trained", False: "reused", None: None}
    portions = [
        {**one, "submodel": told[trained.get(f"submodel-{one['portion']}")]} for one in facts["portions"]
    ]
    return {**facts, "removed": _removed(cards["load"].folder), "portions": portions}


def _removed(loaded: Path) -> int:
    from dtm.foundations.files import read_json

    return int(read_json(loaded / "card.json")["reasons"].get("removed", 0))


def sentences(found: Mapping[str, Any]) -> list[str]:
    """The same in words."""
    words = [f"Of the kept portions {found['kept']:,} rows stay and {found['left']:,} are gone"]
    if found["removed"]:
        words[0] += f" ({found['removed']:,} rows were removed from the data by id)"
    if found["gone"]:
        words.append(f"no row is left of {_portions(found['gone'])} of the run before")
    joined = [one["portion"] for one in found["portions"] if one["joined"] and one["was"] is not None]
    formed = [one["portion"] for one in found["portions"] if one["was"] is None]
    if formed:
        words.append(f"{found['joined']:,} new rows form {_portions(formed)}")
    elif joined:
        words.append(f"{found['joined']:,} new rows joined {_portions(joined)}")
    by_state = {
        state: [one["portion"] for one in found["portions"] if one["submodel"] == state]
        for state in ("reused", "trained")
    }
    models = [f"{state}: {_numbers(which)}" for state, which in by_state.items() if which]
    return ["; ".join(words) + ".", *([f"Sub-models {'; '.join(models)}."] if models else [])]


def _portions(numbers: list[int]) -> str:
    return f"portion{'s' if len(numbers) > 1 else ''} {_numbers(numbers)}"


def _numbers(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
