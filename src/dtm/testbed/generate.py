"""Write the whole testbed into a folder: base, mixture, benchmarks, facts, and a manifest last.

    base/                           a small Llama that knows every fact, as a transformers checkpoint
    mixture/<source>.jsonl          one format a source
    benchmarks/dev/<task>.jsonl     for choices
    benchmarks/test/<task>.jsonl    for scores
    facts.jsonl                     every fact with its part: taught, dev or test
    testbed.json                    settings, counts, and the sha256 of every other file

Every file of ours but the manifest is JSON lines in UTF-8 with sorted keys.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ConfigError
from dtm.testbed.base import base_files
from dtm.testbed.benchmarks import build_benchmarks
from dtm.testbed.mixture import write_mixture
from dtm.testbed.plan import Plan, plan_mixture
from dtm.testbed.sources import SOURCES
from dtm.testbed.sources.drafting import Ground
from dtm.testbed.split import Split, split_facts
from dtm.testbed.world import World, load_world

MANIFEST = "testbed.json"
VERSION = 3


@dataclass(frozen=True)
class Summary:
    """What stands in a generated folder; `written` is False where it stood there already."""

    folder: Path
    facts: dict[str, int]
    sources: dict[str, int]
    tasks: dict[str, dict[str, int]]
    written: bool

    @property
    def rows(self) -> int:
        """Rows of the mixture over all sources."""
        return sum(self.sources.values())


def generate(
    folder: str | Path,
    *,
    rows: int = 3000,
    seed: int = 0,
    bias: float = 1.0,
    taught: float = 0.5,
    dev: float = 0.15,
    dev_items: int = 200,
    test_items: int = 400,
    shares: Mapping[str, float] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Summary:
    """Generate the testbed; the same arguments give the same bytes.

    `rows` are of the mixture, over all sources; `bias` in [0, 1] scales every habit of every source; `taught`
    and `dev` are fractions of the facts; `dev_items` and `test_items` are the most items of a task; `shares`
    and `settings` are by source (see `plan_mixture`). A folder that holds these bytes already is left alone;
    another generated folder is replaced; a folder with anything else in it is a ConfigError.
    """
    target = Path(folder)
    _check_target(target)
    plan = plan_mixture(rows, bias=bias, shares=shares, settings=settings)
    world = load_world()
    split = split_facts(world, seed, taught=taught, dev=dev)
    benchmarks = build_benchmarks(world, split, seed, {"dev": dev_items, "test": test_items})
    mixture = write_mixture(Ground(world, split.taught, seed), plan, seed)
    counts: dict[str, Any] = {
        "facts": {name: len(getattr(split, name)) for name in ("taught", "dev", "test")},
        "sources": {name: len(one) for name, one in mixture.items()},
        "tasks": {part: {task: len(items) for task, items in of.items()} for part, of in benchmarks.items()},
    }
    texts = dict(_texts(world, split, mixture, benchmarks))
    manifest = {
        "version": VERSION,
        "settings": _settings(plan, seed, taught, dev, {"dev": dev_items, "test": test_items}),
        "formats": {name: SOURCES[name].format for name in mixture},
        "counts": counts,
        "files": {path: hashlib.sha256(text).hexdigest() for path, text in texts.items()},
    }
    texts[MANIFEST] = (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
    same = all(_reads(target / path, text) for path, text in texts.items())
    if not same:
        _publish(target, texts)
    return Summary(target, **counts, written=not same)


def _texts(
    world: World, split: Split, mixture: Mapping[str, list], benchmarks: Mapping[str, Mapping[str, list]]
) -> Iterator[tuple[str, bytes]]:
    """Every file but the manifest, by its path in the folder."""
    for name, data in base_files().items():
        yield f"base/{name}", data
    for source, rows in mixture.items():
        yield f"mixture/{source}.jsonl", _jsonl(rows)
    for part, tasks in benchmarks.items():
        for task, items in tasks.items():
            yield f"benchmarks/{part}/{task}.jsonl", _jsonl(items)
    yield "facts.jsonl", _jsonl({"id": f.id, **asdict(f), "part": split.part[f.id]} for f in world.facts)


def _settings(plan: Plan, seed: int, taught: float, dev: float, sizes: Mapping[str, int]) -> dict[str, Any]:
    return {**plan.asdict(), "seed": seed, "taught": float(taught), "dev": float(dev), "items": dict(sizes)}


def _jsonl(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows).encode()


def _check_target(target: Path) -> None:
    """Refuse to replace what no earlier call wrote: a file, or a folder with files that no manifest names."""
    if not target.exists():
        return
    if not target.is_dir():
        mend = "Name another folder"
        raise ConfigError("there is a file where the testbed should go", where=target, mend=mend)
    found = {path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir()}
    foreign = sorted(found - _listed(target / MANIFEST))
    if foreign:
        raise ConfigError(
            f"the folder holds {len(foreign)} file(s) that no testbed wrote, such as {foreign[0]!r}",
            where=target,
            mend="Name a new folder, or move them away",
        )


def _listed(manifest: Path) -> set[str]:
    """The files that a manifest names, itself included; none where it is missing or not one of ours."""
    try:
        return {MANIFEST, *json.loads(manifest.read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _reads(path: Path, text: bytes) -> bool:
    return path.is_file() and path.read_bytes() == text


def _publish(target: Path, texts: Mapping[str, bytes]) -> None:
    """Write beside the target, then rename: what stands at the target is always whole.

    A kill between the two renames leaves nothing there, and the next call writes it again.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        fresh = beside / "new"
        for path, text in texts.items():
            (fresh / path).parent.mkdir(parents=True, exist_ok=True)
            (fresh / path).write_bytes(text)
        if target.exists():
            target.rename(beside / "old")
        fresh.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
