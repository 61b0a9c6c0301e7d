"""What an entry of `evaluate.tasks` means, checked before any work.

An entry is the name of a task of lm-eval, which fetches its data from the hub (`arc_easy`), or a local
file in one of our kinds, which needs no network:

    - arc_easy
    - {name: arc_easy, limit: 200, shots: 5}
    - benchmarks/piqa.jsonl.gz
    - {name: mmlu, path: mmlu_test.jsonl.gz, limit: 500, shots: 5, shots_from: mmlu_dev.jsonl.gz}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dtm.evaluate.pair_kinds  # noqa: F401 - registers them
from dtm.evaluate.entries import KEYS, Where, spec_of
from dtm.evaluate.hub import check_hub_name, lm_eval_version
from dtm.evaluate.kinds import REFUSED, BadRow, Item, detect, kinds
from dtm.evaluate.rows import Lines
from dtm.foundations.errors import ConfigError, DataError, DtmError, several
from dtm.foundations.files import canonical, text_digest
from dtm.foundations.registry import Bound, unknown

VERSION = 1  # of what all kinds share: prompts with examples, the choice of rows under a limit
Row = dict[str, Any]


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

    @property
    def tokens(self) -> int:
        """About how many tokens a model reads and says to answer it, at four characters a token; 0 if not known."""
        asked = sum(
            len(text) for item in self.items for text in (*item.contexts, *(item.continuations or ()))
        )
        said = sum(item.max_tokens for item in self.items if not item.continuations)
        return asked // 4 + said // 2


def resolve(
    entries: Sequence[str | dict[str, Any]], root: Path, *, limit: int | None = None, where: Where = str
) -> list[Task]:
    """Check all entries and read their files; paths are relative to `root`, `limit` a default for entries.

    Under a limit of n, the n rows with the smallest sha256 are scored: the same for every model, spread
    over a sorted file, and a smaller limit's rows are among a larger one's. `where` says where a key such
    as `evaluate.tasks.0.limit` stands. Raises all mistakes at once: MissingInput, DataError (file and
    line), ConfigError, MethodError.
    """
    tasks: list[Task] = []
    errors: list[DtmError] = []
    for number, entry in enumerate(entries):
        key = f"evaluate.tasks.{number}"
        try:
            tasks.append(_build(spec_of(entry, Path(root), limit, key, where), key, where))
        except DtmError as error:
            errors.append(error)
    names = [task.name for task in tasks]
    for name in sorted({name for name in names if names.count(name) > 1}):
        what, mend = f"two tasks are called {name!r}", "Give one of them another `name`"
        errors.append(ConfigError(what, where=where("evaluate.tasks"), mend=mend))
    if errors:
        raise several(errors)
    return tasks


def build(spec: Mapping[str, Any]) -> Task:
    """The task of a `Task.spec`, in a worker; DataError where its file changed since it was checked."""
    task = _build(spec, "evaluate.tasks", str)
    if spec.get("fingerprint") != task.fingerprint:
        what = f"task {task.name!r} changed since it was checked"
        raise DataError(what, where=spec["path"], mend="Start the run again")
    return task


def _build(spec: Mapping[str, Any], key: str, where: Where) -> Task:
    return _local(spec, key, where) if spec["path"] else _hub(spec, key, where)


def _hub(spec: Mapping[str, Any], key: str, where: Where) -> Task:
    """A task of lm-eval: all that can be checked without its data is that it exists."""
    name = spec["name"]
    for other in spec.keys() - {"name", "limit", "shots", "fingerprint"}:
        if spec[other] not in (None, "auto"):
            what = f"`{other}` has no meaning for the lm-eval task {name!r}"
            mend = "Give the `path` of a local file as well, or leave it out"
            raise ConfigError(what, where=where(f"{key}.{other}"), mend=mend)
    check_hub_name(name, where=where(key))
    facts = {"hub": name, "lm_eval": lm_eval_version(), "limit": spec["limit"], "shots": spec["shots"]}
    fingerprint = text_digest(canonical(facts))
    return Task(name, "hub", fingerprint, (), None, (), {**spec, "fingerprint": fingerprint})


def _local(spec: Mapping[str, Any], key: str, where: Where) -> Task:
    lines = Lines(Path(spec["path"]))
    kind = _kind(spec, lines, key, where)
    if spec["shots"] and not kind.method.properties.get("examples", True):
        what = f"a row of {kind.method.name} brings no response that could be shown as an example"
        raise ConfigError(what, where=where(f"{key}.shots"), mend="Leave `shots` out")
    items = _items(lines, kind, spec["split"])
    items, examples, examples_digest = _with_examples(items, kind, spec)
    items = _limited(items, lines, spec["limit"])
    facts = {"version": VERSION, "kind": kind.key, "content": lines.digest, "limit": spec["limit"],
             "split": spec["split"], "shots": spec["shots"], "examples": examples_digest}  # fmt: skip
    fingerprint = text_digest(canonical(facts))
    chosen = kind.method.properties["answer"] == "choices"
    return Task(
        name=spec["name"],
        kind=kind.method.name,
        fingerprint=fingerprint,
        metrics=kind.method.properties["metrics"],
        chance=sum(1 / item.choices for item in items) / len(items) if chosen else None,
        items=tuple(items),
        spec={**spec, "kind": kind.method.name, "fingerprint": fingerprint},
        examples=examples,
    )


def _kind(spec: Mapping[str, Any], lines: Lines, key: str, where: Where) -> Bound:
    """The kind that the entry says, or the first row shows, with its settings."""
    name = spec["kind"]
    if name in REFUSED:
        raise ConfigError(f"{name} cannot be evaluated: {REFUSED[name][1]}", where=where(f"{key}.kind"))
    if name == "auto":
        name = _detected(lines)
    if name not in kinds:
        raise unknown("kind of task", name, kinds, where=where(f"{key}.kind"))
    settings = {one: value for one, value in spec.items() if one not in (*KEYS, "fingerprint")}
    for one in settings.keys() - kinds[name].settings.keys():
        raise unknown(f"key of a {name} task", one, {*KEYS, *kinds[name].settings}, where=where(key))
    return kinds[name].bind(settings, where=where(key))


def _detected(lines: Lines) -> str:
    """The name of the kind that the first row is of."""
    if not lines.rows:
        lines.refuse_bad()
    line, first = lines.rows[0]
    for refused, (keys, reason) in REFUSED.items():
        if set(keys) <= first.keys():
            what = f"these rows are {refused}'s, which cannot be evaluated: {reason}"
            raise DataError(what, where=lines.path)
    method = detect(first)
    if method is None:
        known = "; ".join(f"{kind.name}: {', '.join(kind.properties['keys'])}" for kind in kinds.values())
        raise DataError(
            f"a row with {', '.join(first) or 'no keys'} is of no known kind",
            where=f"{lines.path}:{line}",
            mend=f"The kinds and their keys are: {known}",
        )
    return method.name


def _items(lines: Lines, kind: Bound, split: str | None) -> list[Item]:
    """The items of a file by the order of its lines; `row` counts the rows of the file."""
    items = []
    for place, (line, row) in enumerate(lines.rows):
        if split is not None and row.get("split") != split:
            continue
        try:
            items.append(kind(row, place))
        except BadRow as reason:
            lines.bad.append((line, str(reason)))
    lines.refuse_bad()
    if not items:
        found = ", ".join(sorted({str(row.get("split")) for _, row in lines.rows}))
        raise DataError(f"no row has the split {split!r}", where=lines.path, mend=f"There is: {found}")
    return items


def _with_examples(
    items: list[Item], kind: Bound, spec: Mapping[str, Any]
) -> tuple[list[Item], dict[str, tuple[Item, ...]], str | None]:
    """The items to score, the examples of each group, and the digest of the file that they are from.

    Examples are the first rows of each group of `shots_from`, or else of the task's own file: those are
    then not scored.
    """
    if not spec["shots"]:
        return items, {}, None
    other = Lines(Path(spec["shots_from"])) if spec["shots_from"] else None
    groups: dict[str, list[Item]] = {}
    for item in _items(other, kind, None) if other else items:
        groups.setdefault(item.group, []).append(item)
    examples = {name: tuple(group[: spec["shots"]]) for name, group in groups.items()}
    needed = spec["shots"] + (0 if other else 1)  # one of the group must be left to score
    short = sorted({item.group for item in items if len(groups.get(item.group, ())) < needed})
    if short:
        of = f" of {', '.join(short[:3])}" if short != [""] else ""
        raise DataError(
            f"there are not enough rows{of} for {spec['shots']} examples",
            where=spec["shots_from"] or spec["path"],
            mend="Ask for fewer `shots`, or name a larger file in `shots_from`",
        )
    if other:
        return items, examples, other.digest
    used = {item.row for group in examples.values() for item in group}
    return [item for item in items if item.row not in used], examples, None


def _limited(items: list[Item], lines: Lines, limit: int | None) -> list[Item]:
    if limit is None or limit >= len(items):
        return items

    def draw(item: Item) -> tuple[str, int]:
        row = lines.rows[item.row][1]
        return text_digest(json.dumps(row, sort_keys=True)), item.row  # ASCII: nothing fails to encode

    return sorted(sorted(items, key=draw)[:limit], key=lambda item: item.row)
