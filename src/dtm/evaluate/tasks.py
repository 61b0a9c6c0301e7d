"""What an entry of `evaluate.tasks` means, checked before any work.

An entry is the name of a task of lm-eval, which fetches its data from the hub (`arc_easy`), or a local
file in one of our kinds, which needs no network:

    - arc_easy
    - {name: arc_easy, limit: 200, shots: 5}
    - benchmarks/piqa.jsonl.gz
    - {name: mmlu, path: mmlu_test.jsonl.gz, limit: 500, shots: 5, shots_from: mmlu_dev.jsonl.gz}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtm.evaluate.hub import check_hub_name, lm_eval_version
from dtm.evaluate.kinds import REFUSED, BadRow, Item, detect, kinds
from dtm.evaluate.rows import SUFFIXES, Lines
from dtm.foundations.errors import ConfigError, DataError, DtmError, several
from dtm.foundations.files import canonical, text_digest
from dtm.foundations.registry import Bound, unknown

VERSION = 1  # of what all kinds share: prompts with examples, the choice of rows under a limit
KEYS = ("name", "path", "kind", "limit", "shots", "shots_from", "split")
NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)


@dataclass(frozen=True)
class Task:
    """A checked benchmark. `spec` is plain JSON from which a worker builds the same task again.

    `metrics[0]` is the primary one. `chance` is the mean of 1 / choices, None where nothing is chosen.
    `items` are those to be scored and `examples` the shots of each group; both are empty for a task of
    lm-eval, whose data comes later. `fingerprint` changes with whatever can change a score: the rows,
    our definition's version, limit and shots.
    """

    name: str
    kind: str
    fingerprint: str
    metrics: tuple[str, ...]
    chance: float | None
    items: tuple[Item, ...]
    spec: dict[str, Any]
    examples: dict[str, tuple[Item, ...]] = field(default_factory=dict)


def resolve(entries: Sequence[str | dict[str, Any]], root: Path, *, limit: int | None = None) -> list[Task]:
    """Check all entries and read their files; paths are relative to `root`, `limit` a default for entries.

    Under a limit of n, the n rows with the smallest sha256 are scored: the same for every model, spread
    over a sorted file, and a smaller limit's rows are among a larger one's. Raises all mistakes at once:
    MissingInput, DataError (file and line), ConfigError, MethodError.
    """
    tasks: list[Task] = []
    errors: list[DtmError] = []
    for number, entry in enumerate(entries):
        where = f"evaluate.tasks[{number}]"
        try:
            tasks.append(build(_spec(entry, Path(root), limit, where), where=where))
        except DtmError as error:
            errors.append(error)
    names = [task.name for task in tasks]
    for name in sorted({name for name in names if names.count(name) > 1}):
        errors.append(
            ConfigError(f"two tasks are called {name!r}", where="evaluate.tasks", mend="Give one a `name`")
        )
    if errors:
        raise several(errors)
    return tasks


def build(spec: Mapping[str, Any], *, where: object = None) -> Task:
    """The task of a spec. One that carries a fingerprint must still have it, else DataError."""
    task = _local(spec, where) if spec["path"] else _hub(spec, where)
    promised = spec.get("fingerprint")
    if promised is not None and promised != task.fingerprint:
        raise DataError(f"task {task.name!r} changed since it was checked", where=spec["path"] or where,
                        mend="Start the run again")  # fmt: skip
    return task


def _spec(entry: Any, root: Path, limit: int | None, where: str) -> dict[str, Any]:
    """An entry in full, with absolute paths."""
    if isinstance(entry, str):
        entry = {"path": entry} if entry.endswith(SUFFIXES) else {"name": entry}
    if not isinstance(entry, Mapping) or not all(isinstance(key, str) for key in entry):
        raise ConfigError(f"{entry!r} is neither a name nor a mapping", where=where)
    shots = 0 if entry.get("path") else None  # a task of lm-eval has shots of its own
    spec = {**dict.fromkeys(KEYS), "limit": limit, "shots": shots, "kind": "auto", **entry}
    if not spec["name"] and not spec["path"]:
        raise ConfigError("an entry needs `name`, `path` or both", where=where)
    for key in ("name", "path", "kind", "shots_from", "split"):
        if spec[key] is not None and not isinstance(spec[key], str):
            raise ConfigError(f"{spec[key]!r} is not text", where=f"{where}.{key}")
    for key, least in (("limit", 1), ("shots", 0)):
        value = spec[key]
        if not (value is None and (key == "limit" or not spec["path"])) and (
            type(value) is not int or value < least
        ):
            raise ConfigError(f"{value!r} is not a whole number of at least {least}", where=f"{where}.{key}")
    for key in ("path", "shots_from"):
        if spec[key]:
            spec[key] = str((root / Path(spec[key]).expanduser()).absolute())
    spec["name"] = spec["name"] or _stem(Path(spec["path"]))
    if not NAME.fullmatch(spec["name"]):
        raise ConfigError(
            f"{spec['name']!r} cannot be a task's name", where=f"{where}.name",
            mend="Use letters, digits and _ . + -: files are called by it",
        )  # fmt: skip
    return spec


def _hub(spec: Mapping[str, Any], where: object) -> Task:
    """A task of lm-eval: all that can be checked without its data is that it exists."""
    for key in spec:
        if key not in ("name", "limit", "shots", "fingerprint") and spec[key] not in (None, "auto"):
            raise ConfigError(
                f"`{key}` has no meaning for the lm-eval task {spec['name']!r}", where=f"{where}.{key}",
                mend="Give the `path` of a local file as well, or leave it out",
            )  # fmt: skip
    check_hub_name(spec["name"], where=where)
    facts = {
        "hub": spec["name"],
        "lm_eval": lm_eval_version(),
        "limit": spec["limit"],
        "shots": spec["shots"],
    }
    fingerprint = text_digest(canonical(facts))
    return Task(spec["name"], "hub", fingerprint, (), None, (), {**spec, "fingerprint": fingerprint})


def _local(spec: Mapping[str, Any], where: object) -> Task:
    path = Path(spec["path"])
    lines = Lines(path)
    kind = _kind(spec, lines, where)
    items, rows = _items(lines, kind, spec["split"])
    examples, examples_digest = {}, None
    if spec["shots"] and spec["shots_from"]:
        other = Lines(Path(spec["shots_from"]))
        examples, examples_digest = _examples(_items(other, kind, None)[0], spec["shots"]), other.digest
    elif spec["shots"]:
        examples = _examples(items, spec["shots"])
        used = {item.row for group in examples.values() for item in group}
        items = [item for item in items if item.row not in used]
    elif spec["shots_from"]:
        raise ConfigError("`shots_from` is given, but no `shots`", where=f"{where}.shots_from")
    items = _limited(items, rows, spec["limit"])
    _check_examples(items, examples, spec, where)
    facts = {"version": VERSION, **kind.key, "kind": kind.method.name, "content": lines.digest,
             "limit": spec["limit"], "split": spec["split"], "shots": spec["shots"],
             "examples": examples_digest}  # fmt: skip
    fingerprint = text_digest(canonical(facts))
    chance = None
    if kind.method.properties["answer"] == "choices":
        chance = sum(1 / item.choices for item in items) / len(items)
    full = {**spec, "kind": kind.method.name, "fingerprint": fingerprint}
    metrics = kind.method.properties["metrics"]
    return Task(spec["name"], kind.method.name, fingerprint, metrics, chance, tuple(items), full, examples)


def _kind(spec: Mapping[str, Any], lines: Lines, where: object) -> Bound:
    """The kind that the entry says, or the first row shows, with its settings."""
    settings = {key: value for key, value in spec.items() if key not in (*KEYS, "fingerprint")}
    name = spec["kind"]
    if name in REFUSED:
        raise ConfigError(f"{name} cannot be evaluated: {REFUSED[name][1]}", where=f"{where}.kind")
    if name == "auto":
        if not lines.rows:
            lines.refuse_bad()
        line, first = lines.rows[0]
        for refused, (keys, reason) in REFUSED.items():
            if set(keys) <= first.keys():
                raise DataError(
                    f"these rows are {refused}'s, which cannot be evaluated: {reason}", where=lines.path
                )
        method = detect(first)
        if method is None:
            known = "; ".join(f"{kind.name}: {', '.join(kind.properties['keys'])}" for kind in kinds.values())
            raise DataError(
                f"a row with {', '.join(map(str, first)) or 'no keys'} is of no known kind",
                where=f"{lines.path}:{line}",
                mend=f"The kinds and their keys are: {known}",
            )
        name = method.name
    if name not in kinds:
        raise unknown("kind of task", name, kinds, where=f"{where}.kind")
    for key in settings:
        if key not in kinds[name].settings:
            raise unknown(f"key of a {name} task", key, {*KEYS, *kinds[name].settings}, where=where)
    return kinds[name].bind(settings, where=where)


def _items(lines: Lines, kind: Bound, split: str | None) -> tuple[list[Item], dict[int, dict[str, Any]]]:
    """The items of a file by the order of its lines, and the rows that they came from."""
    items, rows = [], {}
    for place, (line, row) in enumerate(lines.rows):
        if split is not None and row.get("split") != split:
            continue
        try:
            items.append(kind(row, place))
        except BadRow as reason:
            lines.bad.append((line, str(reason)))
        rows[place] = row
    lines.refuse_bad()
    if not items:
        found = sorted({str(row.get("split")) for _, row in lines.rows})
        raise DataError(
            f"no row has the split {split!r}", where=lines.path, mend=f"There is: {', '.join(found)}"
        )
    return items, rows


def _examples(items: Sequence[Item], shots: int) -> dict[str, tuple[Item, ...]]:
    """The first items of each group."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        group = groups.setdefault(item.group, [])
        if len(group) < shots:
            group.append(item)
    return {name: tuple(group) for name, group in groups.items()}


def _check_examples(
    items: Sequence[Item], examples: Mapping[str, tuple[Item, ...]], spec: Mapping, where: object
) -> None:
    if not items:
        raise DataError("all rows are needed as examples, and none is left to score", where=spec["path"])
    if not spec["shots"]:
        return
    short = sorted(
        group for group in {item.group for item in items} if len(examples.get(group, ())) < spec["shots"]
    )
    if short:
        of = f" of {', '.join(short[:3])}" if short != [""] else ""
        raise DataError(
            f"there are fewer than {spec['shots']} examples{of}",
            where=spec["shots_from"] or spec["path"],
            mend="Ask for fewer `shots`, or name a larger file in `shots_from`",
        )


def _limited(items: list[Item], rows: Mapping[int, dict[str, Any]], limit: int | None) -> list[Item]:
    if limit is None or limit >= len(items):
        return items
    chosen = sorted(items, key=lambda item: (text_digest(_form(rows[item.row])), item.row))[:limit]
    return sorted(chosen, key=lambda item: item.row)


def _form(row: dict[str, Any]) -> str:
    import json

    return json.dumps(row, sort_keys=True)  # ASCII, so that nothing in a row can fail to encode


def _stem(path: Path) -> str:
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        name = name.removesuffix(suffix)
    return name
