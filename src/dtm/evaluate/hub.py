"""The tasks that lm-eval brings along, whose data it fetches from the hub."""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from dtm.foundations.errors import MethodError, MissingInput

_NAME = re.compile(r"^[\"']?(?:task|group|tag)[\"']?:[ \t]*[\"']?([^\s\"'#,\[\]]+)", re.MULTILINE)
_TAGS = re.compile(r"^[\"']?tag[\"']?:[ \t]*\n((?:[ \t]*-[^\n]*\n?)+)", re.MULTILINE)
_ENTRY = re.compile(r"-[ \t]*[\"']?([^\s\"'#,\[\]]+)")


def lm_eval_version() -> str:
    return version("lm_eval")


def check_hub_name(name: str, *, where: object = None) -> None:
    """Raise MethodError, with near names, unless lm-eval has a task, group or tag of that name."""
    if name in hub_names():
        return
    near = difflib.get_close_matches(name, hub_names(), n=3, cutoff=0.6)
    raise MethodError(
        f"there is no task of lm-eval {name!r}",
        where=where,
        mend=f"Did you mean {' or '.join(map(repr, near))}?"
        if near
        else "`lm-eval ls tasks` lists them all; for a file of your own give its `path`",
    )


@cache
def hub_names() -> frozenset[str]:
    """All names of lm-eval's task files, read as text: its own index takes half a minute."""
    found = find_spec("lm_eval")
    if found is None or found.origin is None:
        raise MissingInput("lm-eval is not installed", mend="pip install lm-eval")
    names: set[str] = set()
    for path in (Path(found.origin).parent / "tasks").rglob("*"):
        if (
            path.suffix not in ("", ".yaml") or not path.is_file()
        ):  # some keep what they share without a suffix
            continue
        written = path.read_text(encoding="utf-8")
        names.update(_NAME.findall(written))
        for block in _TAGS.findall(written):
            names.update(_ENTRY.findall(block))
    return frozenset(names - {"null"})
