"""An entry of `evaluate.tasks` in full: every key checked, defaults filled in, paths absolute."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dtm.evaluate.rows import SUFFIXES
from dtm.foundations.errors import ConfigError

KEYS = ("name", "path", "kind", "limit", "shots", "shots_from", "split")
NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
Where = Callable[[str], object]


def spec_of(entry: Any, root: Path, limit: int | None, key: str, where: Where) -> dict[str, Any]:
    """The entry as a mapping with all of KEYS, and whatever keys its kind may know; raises ConfigError.

    A text that ends like a benchmark file is a path, any other the name of a task of lm-eval.
    """
    if isinstance(entry, str):
        entry = {"path": entry} if entry.endswith(SUFFIXES) else {"name": entry}
    if not isinstance(entry, Mapping) or not all(isinstance(name, str) for name in entry):
        raise ConfigError(f"{entry!r} is neither a name nor a mapping", where=where(key))
    local = bool(entry.get("path"))
    shots = 0 if local else None  # a task of lm-eval has shots of its own
    spec = {**dict.fromkeys(KEYS), "limit": limit, "shots": shots, "kind": "auto", **entry}
    if not spec["name"] and not local:
        raise ConfigError("an entry needs `name`, `path` or both", where=where(key))
    for name in ("name", "path", "kind", "shots_from", "split"):
        if spec[name] is not None and not isinstance(spec[name], str):
            raise ConfigError(f"{spec[name]!r} is not text", where=where(f"{key}.{name}"))
    _check_count(spec["limit"], 1, True, where(f"{key}.limit"))
    _check_count(spec["shots"], 0, not local, where(f"{key}.shots"))
    if spec["shots_from"] and not spec["shots"]:
        raise ConfigError(
            "examples are named, but none are asked for", where=where(f"{key}.shots_from"), mend="Set `shots`"
        )
    for name in ("path", "shots_from"):
        if spec[name]:
            spec[name] = str((root / Path(spec[name]).expanduser()).absolute())
    spec["name"] = spec["name"] or _stem(Path(spec["path"]).name)
    if not NAME.fullmatch(spec["name"]):
        mend = "Use letters, digits and _ . + -: files are called by it"
        raise ConfigError(f"{spec['name']!r} cannot be a task's name", where=where(f"{key}.name"), mend=mend)
    return spec


def _check_count(value: Any, least: int, optional: bool, where: object) -> None:
    if value is None and optional:
        return
    if type(value) is not int or value < least:
        raise ConfigError(f"{value!r} is not a whole number of at least {least}", where=where)


def _stem(name: str) -> str:
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        name = name.removesuffix(suffix)
    return name
