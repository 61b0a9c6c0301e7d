"""YAML as users mean it: `3e-4` is a number, `on` is a word, a key said twice is an error, keys have lines.

PyYAML reads YAML 1.1, in which 3e-4 is text, `on` is true, 2024-05-01 is a date, 1:30 is 90 and the revision
0123456 is 42798. Here numbers are decimal (or 0x, 0b) and what is neither number, boolean nor null is text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dtm.foundations.errors import ConfigError, MissingInput

_BOOL, _INT, _FLOAT, _DATE = (f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "timestamp"))
_OURS = (_BOOL, _INT, _FLOAT, _DATE)


class _Loader(yaml.SafeLoader):
    """SafeLoader with our own plain scalars."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OURS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PLACES = r"[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+)"
for _tag, _pattern, _first in (
    (_BOOL, r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (_INT, r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+|0b[01]+)", "-+0123456789"),
    (_FLOAT, rf"{_PLACES}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), list(_first))


@dataclass(frozen=True)
class Document:
    """A parsed file: its values, and the line of each key path such as `train.args.learning_rate`."""

    values: Any
    lines: dict[str, int] = field(default_factory=dict)
    path: Path | None = None
    text: str = ""

    def where(self, key: str) -> str:
        """`file:line: key` for an error message; the nearest known ancestor's line."""
        probe = key
        while probe and probe not in self.lines:
            probe = probe.rpartition(".")[0]
        name = str(self.path) if self.path else "<settings>"
        return f"{name}:{self.lines[probe]}: {key}" if probe in self.lines else f"{name}: {key}"


def load(path: Path | str) -> Document:
    """Read a YAML file whose top is a mapping."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingInput("there is no such file", where=path) from None
    except IsADirectoryError:
        raise ConfigError("this is a folder, not a run file", where=path) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"this is not UTF-8 text: {error}", where=path) from None
    except OSError as error:
        raise ConfigError(f"the file cannot be read: {error.strerror}", where=path) from None
    return parse(text, path)


def parse(text: str, path: Path | None = None) -> Document:
    """Parse YAML text whose top is a mapping."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        lines: dict[str, int] = {}
        if node is not None:
            _walk(node, "", lines, set(), ())
        values = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
        raise ConfigError(f"this is not valid YAML: {error.problem}", where=where) from None
    except (yaml.YAMLError, ValueError) as error:  # a number of more digits than Python reads
        raise ConfigError(f"this is not valid YAML: {' '.join(str(error).split())}", where=path) from None
    except RecursionError:
        raise ConfigError("this is nested too deeply", where=path) from None
    if values is None:
        raise ConfigError("the file is empty", where=path, mend="See `dtm schema` for what a run file says")
    if not isinstance(values, dict):
        raise ConfigError("the top of the file must be keys with values", where=path)
    return Document(values, lines, path, text)


def _walk(
    node: yaml.Node, prefix: str, lines: dict[str, int], known: set[int], above: tuple[int, ...]
) -> None:
    """Note the line of every key; what an alias repeats is walked once, so ten lines cannot make a billion."""
    if id(node) in above:
        raise yaml.MarkedYAMLError(problem=f"{prefix!r} holds itself", problem_mark=node.start_mark)
    if id(node) in known:
        return
    known.add(id(node))
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{prefix}.{key.value}" if prefix else str(key.value)
            if name in lines:
                raise yaml.MarkedYAMLError(problem=f"{name!r} is said twice", problem_mark=key.start_mark)
            lines[name] = key.start_mark.line + 1
            _walk(value, name, lines, known, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[f"{prefix}.{index}"] = value.start_mark.line + 1
            _walk(value, f"{prefix}.{index}", lines, known, above)


def assign(values: dict[str, Any], dotted: str) -> None:
    """Apply one `-s key.to.set=value` in place; the value is read as YAML."""
    key, equals, text = dotted.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"{dotted!r} is not key=value", where="-s", mend="For example -s train.args.learning_rate=1e-4"
        )
    target: Any = values
    *parents, last = key.strip().split(".")
    for name in parents:
        target = _step(target, name, key)
    try:
        value = yaml.load(text, Loader=_Loader) if text.strip() else None
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{text!r} is not valid YAML: {problem}", where=f"-s {key}") from None
    if isinstance(target, list):
        target[_index(target, last, key)] = value
    else:
        target[last] = value


def _step(target: Any, name: str, key: str) -> Any:
    """What stands under `name`, a mapping made where there is nothing."""
    place: Any = _index(target, name, key) if isinstance(target, list) else name
    if (target[place] if isinstance(target, list) else target.get(place)) is None:
        target[place] = {}
    if not isinstance(target[place], dict | list):
        raise ConfigError(f"`{name}` is a single value, it holds no `{key}`", where=f"-s {key}")
    return target[place]


def _index(target: list[Any], name: str, key: str) -> int:
    if not name.isdecimal() or int(name) >= len(target):
        raise ConfigError(f"`{name}` is no place in a list of {len(target)}", where=f"-s {key}")
    return int(name)
