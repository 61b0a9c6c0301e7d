"""From sources to `Examples`: read, map, deduplicate, choose; and a card that accounts for every row."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from dtm.data.choosing import chosen, repeats
from dtm.data.rows import BrokenRow
from dtm.data.sources import Source
from dtm.data.table import Builder, encoded
from dtm.data.turns import Unusable
from dtm.foundations.errors import DataError, DtmError, several
from dtm.foundations.types import SCHEMA, Examples, canonical_id

SHOWN = 500  # characters of a dropped row that are kept aside
DUPLICATE, REMOVED = "duplicate", "removed"

Progress = Callable[[int, int], None]
Places = dict[bytes, tuple[str, int]]  # digest of the messages -> file and line where they stood first


@dataclass
class Tally:
    """What became of one file's rows."""

    file: str
    format: str
    read: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def dropped(self) -> int:
        return self.reasons.total()

    def useless(self) -> DtmError | None:
        """The error for a file in which no row can be used; duplicates and removed rows can."""
        if self.read > self.dropped or self.reasons[DUPLICATE] or self.reasons[REMOVED]:
            return None
        if not self.read:
            return DataError("the file holds no row", where=self.file)
        reason, count = self.reasons.most_common(1)[0]
        what = f"none of its {self.read} rows can be used; {count} times: {reason}"
        mend = f"It was read as {self.format!r}; `format` can say otherwise"
        return DataError(what, where=self.file, mend=mend)


class Progressing:
    """Adds up the bytes that readers tell of."""

    def __init__(self, report: Progress | None, total: int) -> None:
        self.report, self.total, self.done = report, total, 0

    def __call__(self, count: int) -> None:
        self.done += count
        if self.report:
            self.report(min(self.done, self.total), self.total)


def load(
    sources: Sequence[Source],
    seed: int,
    dropped: Path,
    progress: Progress | None = None,
    *,
    places: Path | None = None,
    removed: Set[str] = frozenset(),
) -> tuple[Examples, dict[str, Any]]:
    """All rows of the sources that can be used, and the card; unusable ones go to `dropped` (JSON Lines).

    Where each kept row stood goes to `places`, an Arrow file of id, file and line: for who drops rows later.
    Rows of the ids `removed`, and their repeats, are left out after `fraction`, `limit` and `weight` were
    met, so that no other row takes their place; what they say is written nowhere.

    For every source, read = kept + dropped + left_out, and rows = kept + repeated. `dropped` counts
    duplicates too; `left_out` are usable rows that `fraction` and `limit` did not take; `repeated`
    come on top by `weight`. `progress` hears of (bytes read, bytes in all), of files as they are on
    disk. Raises DataError for files without a usable row, after all were read, and MissingInput for
    a hub id that cannot be fetched.
    """
    tell = Progressing(progress, sum(source.size for source in sources))
    taken: Places = {}
    tables, cards, tallies = [], [], []
    # A lone surrogate comes out as \udxxx, which is how JSON writes it.
    with open(dropped, "w", encoding="utf-8", errors="backslashreplace") as aside:
        for source in sources:
            found: Places = {}
            table, of_files = _read(source, taken, found, aside, tell, removed)
            whole = chosen(table, seed, source.source, fraction=source.fraction, limit=source.limit)
            kept, *copies = (
                _without(part, removed)
                for part in (whole, *repeats(whole, seed, source.source, weight=source.weight))
            )
            _tell_removed(whole, removed, found, of_files, source, aside)
            tables += [kept, *copies]
            left_out = len(table) - len(whole)
            cards.append(_card(source, of_files, left_out, len(kept), sum(map(len, copies))))
            tallies += of_files
            taken |= found if not left_out else _placed(whole, found)
    errors = [error for tally in tallies if (error := tally.useless())]
    if errors:
        raise several(errors)
    if places is not None:
        _write_places(taken, places)
    return Examples(pa.concat_tables([SCHEMA.empty_table(), *tables])), _total(cards)


def read_places(path: Path, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """File and line of the rows of these ids; a repeated row stands where its first stood."""
    import pyarrow.compute as pc

    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    wanted = pa.array(sorted({identity.split("#")[0] for identity in ids}), pa.string())
    rows = table.filter(pc.is_in(table["id"], value_set=wanted)).to_pylist()
    found = {row["id"]: (row["file"], row["line"]) for row in rows}
    return {identity: found[identity.split("#")[0]] for identity in ids}


def _write_places(taken: Places, path: Path) -> None:
    columns = {
        "id": pa.array([key.hex() for key in taken], pa.string()),
        "file": pa.array([file for file, _ in taken.values()], pa.string()).dictionary_encode(),
        "line": pa.array([line for _, line in taken.values()], pa.int64()),
    }
    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _without(table: pa.Table, removed: Set[str]) -> pa.Table:
    """The rows whose family is none of the removed ids."""
    import pyarrow.compute as pc

    if not removed:
        return table
    return table.filter(
        pc.invert(pc.is_in(table["family"], value_set=pa.array(sorted(removed), pa.string())))
    )


def _tell_removed(
    whole: pa.Table, removed: Set[str], places: Places, tallies: list[Tally], source: Source, aside: TextIO
) -> None:
    """Count the removed rows in their files, and write aside where they stood, with their ids alone."""
    by_file = {tally.file: tally for tally in tallies}
    for identity in whole["id"].to_pylist() if removed else ():
        if identity in removed:
            file, line = places[bytes.fromhex(identity)]
            by_file[file].reasons[REMOVED] += 1
            record = {
                "file": file,
                "line": line,
                "reason": REMOVED,
                "row": "",
                "source": source.source,
                "id": identity,
            }
            aside.write(json.dumps(record, ensure_ascii=False) + "\n")


def _read(
    source: Source, taken: Places, places: Places, aside: TextIO, tell: Progressing, removed: Set[str]
) -> tuple[pa.Table, list[Tally]]:
    """The usable rows of a source that neither it nor `taken` had before; `places` gets where they stand.

    Of a second copy of a removed row nothing is written aside but its place.
    """
    builder, tallies = Builder(source.source), []
    for file, form in source.opened():
        tally = Tally(file.name, form.name)
        tallies.append(tally)
        for line, row in file.rows(tell):
            tally.read += 1
            identity = ""
            try:
                if isinstance(row, BrokenRow):
                    raise Unusable(row.reason, row.detail)
                messages, meta = form.convert(row)
                identity = canonical_id(messages)
                key = bytes.fromhex(identity)
                if (first := taken.get(key) or places.get(key)) is not None:
                    raise Unusable(DUPLICATE, f"of {first[0]}:{first[1]}")
                builder.add(identity, messages, encoded(meta))
                places[key] = (file.name, line)
            except Unusable as why:
                tally.reasons[why.reason] += 1
                text = "" if identity in removed else _text(row)
                aside.write(_aside(file.name, line, source.source, str(why), text))
    return builder.table(), tallies


def _aside(file: str, line: int, source: str, reason: str, text: str) -> str:
    """A line of dropped.jsonl; `row` is the row's text, and ends in `...` where it was cut."""
    text = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    record = {"file": file, "line": line, "reason": reason, "row": text, "source": source}
    return json.dumps(record, ensure_ascii=False) + "\n"


def _text(row: Any) -> str:
    """A row of a file as text."""
    try:
        return row.text if isinstance(row, BrokenRow) else json.dumps(row, ensure_ascii=False, default=str)
    except RecursionError:
        return "(nested too deep to show)"


def _placed(kept: pa.Table, places: Places) -> Places:
    """The places of the kept rows: what `fraction` left out may still come from a later source."""
    keys = (bytes.fromhex(identity) for chunk in kept.column("id").chunks for identity in chunk.to_pylist())
    return {key: places[key] for key in keys}


def _card(source: Source, tallies: list[Tally], left_out: int, kept: int, repeated: int) -> dict[str, Any]:
    reasons = sum((tally.reasons for tally in tallies), Counter[str]())
    files = [
        {"file": one.file, "format": one.format, "read": one.read, "dropped": one.dropped} for one in tallies
    ]
    card = {"source": source.source, "license": source.license, "files": files,
            "read": sum(one.read for one in tallies), "kept": kept, "dropped": reasons.total(),
            "duplicates": reasons[DUPLICATE], "left_out": left_out, "repeated": repeated,
            "rows": kept + repeated, "reasons": dict(sorted(reasons.items())),
            "ignored_files": list(source.ignored)}  # fmt: skip
    return {**card, "commit": source.hub.commit} if source.hub else card


def _total(cards: list[dict[str, Any]]) -> dict[str, Any]:
    reasons = sum((Counter(card["reasons"]) for card in cards), Counter[str]())
    counts = ("read", "kept", "dropped", "duplicates", "left_out", "repeated", "rows")
    return {**{name: sum(card[name] for card in cards) for name in counts},
            "sources": cards, "reasons": dict(sorted(reasons.items()))}  # fmt: skip
