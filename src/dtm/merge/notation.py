"""How users write the numbers of a merge, and what is wrong with what they wrote, told before any work.

    0.5                                                   the same everywhere
    [0.0, 0.5, 1.0]                                       interpolated from the first layer to the last
    [{filter: mlp, value: 0.3}, {filter: self_attn, value: [0, 1]}, {value: 0.5}]   the first that is in the name
    {models: [0.5, [0, 1], ...]}                          one of the above a sub-model

`scalars` makes one number a tensor of it. A method says in its signature what it takes, `density: ShareK = 0.2`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from dtm.foundations.errors import DtmError
from dtm.foundations.settings import Fault, Within, is_number, taken_apart

FORMS = ", a list of numbers over depth, or a list of {filter, value}"


@dataclass(frozen=True)
class Numbers:
    """The mark of a setting that is one number a tensor, or where `each` one a tensor and sub-model."""

    within: Within = field(default_factory=Within)
    each: bool = False

    def describe(self, base: str) -> str:
        return (
            f"a number{self.within.words} (or by depth{', name or sub-model' if self.each else ' or name'})"
        )

    def faults(self, value: Any) -> Iterator[Fault]:
        if self.each and isinstance(value, Mapping) and value.keys() == {"models"}:
            models = value["models"]
            if not isinstance(models, list | tuple) or not models:
                yield Fault("models", f"{models!r} is not a list with one value a sub-model")
                return
            for number, one in enumerate(models):
                yield from _inside(f"models.{number}", self._one(one))
            return
        yield from self._one(value)

    def plain(self, value: Any) -> Any:
        """All numbers real, so that 1 and 1.0 are one setting."""
        if isinstance(value, Mapping):
            return {key: one if key == "filter" else self.plain(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(one) for one in value]
        return float(value) if is_number(value) else value

    def _one(self, value: Any, *, rules: bool = True) -> Iterator[Fault]:
        """What is wrong with a number, a list over depth or, unless inside of one, a list of rules."""
        if is_number(value):
            yield from self.within.faults(value)
        elif isinstance(value, list | tuple) and value and all(is_number(one) for one in value):
            for number, one in enumerate(value):
                yield from _inside(str(number), self.within.faults(one))
        elif rules and isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
            for number, rule in enumerate(value):
                yield from _inside(str(number), self._rule(rule))
        else:
            yield Fault("", f"{value!r} is not a number{self.within.words}{FORMS}")

    def _rule(self, rule: Any) -> Iterator[Fault]:
        if not isinstance(rule, Mapping) or "value" not in rule or rule.keys() - {"filter", "value"}:
            yield Fault("", f"{rule!r} is not {{filter: ..., value: ...}}")
            return
        yield from _inside("value", self._one(rule["value"], rules=False))


@dataclass(frozen=True)
class Wrapped:
    """The mark of a modifier's setting `of`: the method that it wraps, by name or with settings."""

    def describe(self, base: str) -> str:
        return "a merge method, NAME or {name: NAME, setting: value}"

    def faults(self, value: Any) -> Iterator[Fault]:
        from dtm.merge.method import merger

        if not isinstance(value, str) and not (
            isinstance(value, Mapping) and isinstance(value.get("name"), str)
        ):
            yield Fault("", f"{value!r} is not {self.describe('')}")
            return
        name, settings = named(value)
        try:
            bound = merger.bind(name, settings, where=lambda key: key)
        except DtmError as error:
            for part in getattr(error, "parts", [error]):
                yield Fault(part.where or "", part.what, part.mend)
            return
        if bound.method.properties.get("form", "blocks") != "blocks":
            yield Fault("", f"{name!r} merges adapters or wraps a method itself, so it cannot be wrapped")

    def plain(self, value: Any) -> Any:
        return value


def named(value: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name and the settings of `NAME` or `{name: NAME, setting: value}`."""
    if isinstance(value, str):
        return value, {}
    return value["name"], {key: one for key, one in value.items() if key != "name"}


def numbers_of(annotation: Any) -> Numbers | None:
    """The mark of a setting that is to become one number a tensor."""
    return next((mark for mark in taken_apart(annotation)[1] if isinstance(mark, Numbers)), None)


def _inside(key: str, faults: Iterator[Fault]) -> Iterator[Fault]:
    for inner, what, mend in faults:
        yield Fault(f"{key}.{inner}" if inner else key, what, mend)


Scalar = Annotated[Any, Numbers()]
Share = Annotated[Any, Numbers(Within(0, 1))]
ScalarK = Annotated[Any, Numbers(each=True)]
ShareK = Annotated[Any, Numbers(Within(0, 1), each=True)]
Magnitude = Annotated[Any, Numbers(Within(0))]
WrappedMethod = Annotated[Any, Wrapped()]
