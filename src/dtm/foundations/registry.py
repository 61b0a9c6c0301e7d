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
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dtm.foundations.errors import ConfigError, DtmError, MethodError, several
from dtm.foundations.settings import faults, plain

Where = Callable[[str], object] | object
KINDS = (
    "recipe",
    "curate",
    "augment",
    "disperse",
    "regularise",
    "merge",
    "embedder",
    "template",
    "task",
    "instruction",
    "answer",
    "pair",
    "constraint",
    "rules",
    "scorer",
)


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

    def bind(self, settings: Mapping[str, Any], *, where: Where = None) -> Bound:
        """Check a user's settings and fill in defaults; raises every mistake at once.

        `where` names the section, or is a function from a setting's name to where it stands in a file.
        """
        known, place = self.settings, where if callable(where) else _under(where)
        errors: list[DtmError] = []
        for name in sorted(settings.keys() - known.keys()):
            what = f"setting of {self.kind} method {self.name!r}"
            errors.append(unknown(what, name, known, where=place(name) if callable(where) else where))
        for name, parameter in known.items():
            if name in settings:
                for key, what, mend in faults(parameter.annotation, settings[name]):
                    inside = f"{name}.{key}" if key else name
                    errors.append(ConfigError(what, where=place(inside), mend=mend))
            elif parameter.default is inspect.Parameter.empty:
                errors.append(
                    MethodError(f"{self.kind} method {self.name!r} needs `{name}`", where=place(name))
                )
        if errors:
            raise several(errors)
        defaults = {n: p.default for n, p in known.items() if p.default is not inspect.Parameter.empty}
        given = {name: plain(known[name].annotation, value) for name, value in settings.items()}
        return Bound(self, {**defaults, **given})


def _under(where: object) -> Callable[[str], object]:
    """Where a setting of the section `where` stands."""
    return lambda name: f"{where}.{name}" if where and name else where or name


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

    def bind(self, name: str, settings: Mapping[str, Any] | None = None, *, where: Where = None) -> Bound:
        """The method of that name with checked settings; `where`: see `Method.bind`."""
        if name not in self._methods:
            place = where("") if callable(where) else where
            raise unknown(f"{self.kind} method", name, self._methods, where=place)
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
