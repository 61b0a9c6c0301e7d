"""`dtm agreement RUN RUN ...`: how far splits agree, by the rows that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ConfigError, DataError
from dtm.pipeline.kept import Kept, read_kept
from dtm.pipeline.mirroring import here

NOTE = (
    "adjusted Rand index (1: the same parts, 0: what chance gives), and in brackets the normalised mutual information, "
    "over the rows that two splits have in common; a row counts in its own portion, replayed rows in none."
)


def agreement(splits: Sequence[Path | str]) -> dict[str, Any]:
    """`splits` {name, portions, rows} and `pairs` {a, b, rows, adjusted_rand, mutual_information}, ready for JSON.

    A split is a run's folder or URL, or a CSV file with the columns id and portion. Raises ConfigError for fewer than
    two or for what is none, DataError where two have no row in common.
    """
    if len(splits) < 2:
        raise ConfigError("one split agrees with itself", where="dtm agreement",
                          mend="Name two runs or more")  # fmt: skip
    paths = [here(one) for one in splits]
    names, read = _names(paths), [read_kept(path) for path in paths]
    told = [{"name": name, "portions": one.k, "rows": int((one.portion_N >= 0).sum())}
            for name, one in zip(names, read, strict=True)]  # fmt: skip
    pairs = []
    for one, other in combinations(range(len(read)), 2):
        found = compared(read[one], read[other])
        if not found["rows"]:
            raise DataError(f"{paths[one]} and {paths[other]} have no row in common", where="dtm agreement")
        pairs.append({"a": names[one], "b": names[other], **found})
    return {"splits": told, "pairs": pairs}


def compared(one: Kept, other: Kept) -> dict[str, Any]:
    """`rows` in common, and over them `adjusted_rand` and `mutual_information`; None where there is no row."""
    import pyarrow.compute as pc

    import dtm.disperse.agreement

    place = pc.fill_null(pc.index_in(one.ids, value_set=other.ids), -1).to_numpy(zero_copy_only=False)
    both = (place >= 0) & (one.portion_N >= 0)
    both[both] = other.portion_N[place[both]] >= 0
    rows = int(both.sum())
    if not rows:
        return {"rows": 0, "adjusted_rand": None, "mutual_information": None}
    return {
        "rows": rows,
        **dtm.disperse.agreement.agreement(one.portion_N[both], other.portion_N[place[both]]),
    }


def show(found: dict[str, Any], console: Any) -> None:
    """A triangle of the pairs, and under it what the figures are."""
    from rich.markup import escape
    from rich.table import Table

    names = [one["name"] for one in found["splits"]]
    pairs = {(one["a"], one["b"]): one for one in found["pairs"]}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("split", overflow="fold")
    for name in ("portions", "rows", *names[:-1]):
        table.add_column(escape(name), justify="right")
    for number, split in enumerate(found["splits"]):
        cells = [_cell(pairs[other, split["name"]], split["rows"]) for other in names[:number]]
        table.add_row(escape(split["name"]), str(split["portions"]), f"{split['rows']:,}", *cells)
    console.print(table)
    console.print(NOTE, soft_wrap=True, markup=False)


def _cell(pair: dict[str, Any], rows: int) -> str:
    shared = f"\n{pair['rows']:,} rows" if pair["rows"] != rows else ""
    return f"{pair['adjusted_rand']:.3f} ({pair['mutual_information']:.3f}){shared}"


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, or where these are not distinct the paths as given, numbered where they are the same."""
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    seen: Counter[str] = Counter()
    for number, name in enumerate(names):
        seen[name] += 1
        names[number] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return names
