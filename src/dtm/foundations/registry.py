"""Methods by name: one registry a kind, so that adding a method is one file and one import.

    from dtm.foundations.registry import registry

    disperser = registry("disperse")

    @disperser.register("random", paper="arXiv:2405.13432")
    def random(examples_N, k, seed, *, balanced: bool = True): ...

A method's settings are its keyword-only arguments. `bind` checks a user's settings against them
before any work, fills in the defaults, and returns what the store's key needs.
"""

from __future__ import annotations

import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError, MethodError, several

KINDS = ("recipe", "curate", "augment", "disperse", "regularise", "merge", "embedder", "template", "task")


@dataclass(frozen=True)
class Method:
    """One registered function with what users and the conformance suite must know about it."""

    kind: str
    name: str
    function: Callable[..., Any]
    paper: str | None = None
    version: int = 1
    needs: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """First line of the function's docstring, or of its module's."""
        text = inspect.getdoc(self.function) or inspect.getdoc(inspect.getmodule(self.function)) or ""
        return text.split("\n", 1)[0]

    @property
    def settings(self) -> dict[str, inspect.Parameter]:
        """The keyword-only arguments by name, without those that the pipeline hands in (`needs`)."""
        parameters = inspect.signature(self.function, eval_str=True).parameters.values()
        return {
            p.name: p
            for p in parameters
            if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name not in self.needs
        }

    def bind(self, settings: Mapping[str, Any], *, where: object = None) -> Bound:
        """Check a user's settings and fill in defaults; raises every mistake at once."""
        known, errors = self.settings, []
        for name in sorted(settings.keys() - known.keys()):
            errors.append(unknown(f"setting of {self.kind} method {self.name!r}", name, known, where=where))
        for name, parameter in known.items():
            place = f"{where}.{name}" if where else name
            if name not in settings:
                if parameter.default is inspect.Parameter.empty:
                    errors.append(
                        MethodError(f"{self.kind} method {self.name!r} needs `{name}`", where=place)
                    )
            elif not accepts(parameter.annotation, settings[name]):
                kind = describe(parameter.annotation)
                errors.append(ConfigError(f"{settings[name]!r} is not {kind}", where=place))
        if errors:
            raise several(errors)
        defaults = {n: p.default for n, p in known.items() if p.default is not inspect.Parameter.empty}
        given = {name: _as(known[name].annotation, value) for name, value in settings.items()}
        return Bound(self, {**defaults, **given})


@dataclass(frozen=True)
class Bound:
    """A method with all its settings; `key` is what a store key holds of it."""

    method: Method
    settings: dict[str, Any]

    def __call__(self, *arguments: Any, **extra: Any) -> Any:
        return self.method.function(*arguments, **extra, **self.settings)

    @property
    def key(self) -> dict[str, Any]:
        return {"method": self.method.name, "version": self.method.version, "settings": self.settings}


class Registry(Mapping[str, Method]):
    """The methods of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._methods: dict[str, Method] = {}

    def register(
        self,
        name: str,
        *,
        paper: str | None = None,
        version: int = 1,
        needs: tuple[str, ...] = (),
        **properties: Any,
    ) -> Callable[[Callable], Callable]:
        """Decorator: put a function under `name`; a second one of that name is refused."""

        def add(function: Callable) -> Callable:
            if name in self._methods:
                raise MethodError(f"{self.kind} method {name!r} is registered twice")
            self._methods[name] = Method(self.kind, name, function, paper, version, needs, properties)
            return function

        return add

    def bind(self, name: str, settings: Mapping[str, Any] | None = None, *, where: object = None) -> Bound:
        """The method of that name with checked settings."""
        if name not in self._methods:
            raise unknown(f"{self.kind} method", name, self._methods, where=where)
        return self._methods[name].bind(settings or {}, where=where)

    def __getitem__(self, name: str) -> Method:
        if name not in self._methods:
            raise unknown(f"{self.kind} method", name, self._methods)
        return self._methods[name]

    def __contains__(self, name: object) -> bool:
        return name in self._methods

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._methods))

    def __len__(self) -> int:
        return len(self._methods)


_registries = {kind: Registry(kind) for kind in KINDS}


def registry(kind: str) -> Registry:
    """The one registry of that kind."""
    if kind not in _registries:
        raise unknown("kind of method", kind, _registries)
    return _registries[kind]


def unknown(what: str, name: str, known: typing.Iterable[str], *, where: object = None) -> DtmError:
    """The error for a name that does not exist, with the nearest that do."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    mend = f"Did you mean {near[0]!r}?" if near else f"There is: {', '.join(names) or 'none'}"
    return MethodError(f"there is no {what} {name!r}", where=where, mend=mend)


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a value from YAML fits a simple annotation; annotations it cannot judge accept all."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(accepts(one, value) for one in arguments)
    if origin is typing.Literal:
        return any(value == one and type(value) is type(one) for one in arguments)
    if annotation is None or annotation is type(None):
        return value is None
    if origin in (list, tuple, typing.get_origin(typing.Sequence[int])):
        item = arguments[0] if arguments else Any
        return isinstance(value, list | tuple) and all(accepts(item, one) for one in value)
    if origin is dict or origin is typing.get_origin(typing.Mapping[str, int]):
        return isinstance(value, Mapping)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation) if annotation in (bool, str, dict, list) else True


def _as(annotation: Any, value: Any) -> Any:
    """A whole number given for a real one becomes real: 1 and 1.0 are one setting, with one key."""
    options = typing.get_args(annotation) or (annotation,)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_whole and float in options and int not in options else value


def describe(annotation: Any) -> str:
    """An annotation in words for a user: `one of 'a', 'b'`, `a number`, `true or false`."""
    if typing.get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(repr(one) for one in typing.get_args(annotation))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(describe(one) for one in typing.get_args(annotation))
    words = {
        float: "a finite number",
        int: "a whole number",
        bool: "true or false",
        str: "text",
        type(None): "null",
    }
    return words.get(annotation, str(annotation))
