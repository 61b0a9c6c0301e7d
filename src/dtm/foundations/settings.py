"""What a method's setting may be, from the annotation of its keyword-only argument.

    strength: float                              a finite number
    strength: Annotated[float, Within(0, 1)]     a finite number from 0 to 1; `Fraction` for short
    density: Annotated[Any, mark]                whatever the mark says, such as `Numbers` of merging

A mark has `describe(base)`, `faults(value)` and `plain(value)`; see `Mark`.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable


class Fault(typing.NamedTuple):
    """What is wrong with a setting; `key` is the place inside its value, `models.1` say, or empty."""

    key: str
    what: str
    mend: str | None = None


@runtime_checkable
class Mark(Protocol):
    """What an `Annotated` setting carries beside its type."""

    def describe(self, base: str) -> str:
        """What is accepted, in words; `base` are the words of the type."""

    def faults(self, value: Any) -> Iterator[Fault]:
        """What is wrong with a value of that type."""

    def plain(self, value: Any) -> Any:
        """The value in the one form that enters a store key."""


@dataclass(frozen=True)
class Within:
    """A range: from `least` to `most`, both allowed, and above `above`."""

    least: float | None = None
    most: float | None = None
    above: float | None = None

    def __contains__(self, number: float) -> bool:
        low = self.least is None or number >= self.least
        return (
            low and (self.most is None or number <= self.most) and (self.above is None or number > self.above)
        )

    @property
    def words(self) -> str:
        if self.least is not None and self.most is not None:
            return f" from {self.least:g} to {self.most:g}"
        ends = (("of at least", self.least), ("above", self.above), ("of at most", self.most))
        return "".join(f" {word} {end:g}" for word, end in ends if end is not None)

    def describe(self, base: str) -> str:
        return base + self.words

    def faults(self, value: Any) -> Iterator[Fault]:
        if is_number(value) and value not in self:
            yield Fault("", f"{value!r} is not a number{self.words}")

    def plain(self, value: Any) -> Any:
        return value


def faults(annotation: Any, value: Any) -> Iterator[Fault]:
    """All that is wrong with a value from YAML; an annotation that says nothing simple accepts all."""
    base, marks = taken_apart(annotation)
    if not accepts(base, value):
        yield Fault("", f"{value!r} is not {describe(annotation)}")
        return
    for mark in marks:
        yield from mark.faults(value)


def plain(annotation: Any, value: Any) -> Any:
    """A whole number given for a real one becomes real: 1 and 1.0 are one setting, with one key."""
    base, marks = taken_apart(annotation)
    options = typing.get_args(base) or (base,)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    value = float(value) if is_whole and float in options and int not in options else value
    for mark in marks:
        value = mark.plain(value)
    return value


def taken_apart(annotation: Any) -> tuple[Any, tuple[Mark, ...]]:
    """The type of an annotation, and its marks."""
    if typing.get_origin(annotation) is not typing.Annotated:
        return annotation, ()
    base, *extras = typing.get_args(annotation)
    return base, tuple(extra for extra in extras if isinstance(extra, Mark))


def is_number(value: Any) -> bool:
    """Whether it is a finite number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a value from YAML fits a simple type; types it cannot judge accept all."""
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
        return is_number(value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation) if annotation in (bool, str, dict, list) else True


def describe(annotation: Any) -> str:
    """An annotation in words for a user: `one of 'a', 'b'`, `a finite number from 0 to 1`, `true or false`."""
    base, marks = taken_apart(annotation)
    words = _describe(base)
    for mark in marks:
        words = mark.describe(words)
    return words


def _describe(annotation: Any) -> str:
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


@dataclass(frozen=True)
class Each:
    """A list of numbers within a range, `least` of them or more."""

    within: Within
    least: int = 1

    def describe(self, base: str) -> str:
        return f"{base}, each a number{self.within.words}"

    def faults(self, value: Any) -> Iterator[Fault]:
        if isinstance(value, list | tuple):
            if len(value) < self.least:
                yield Fault("", f"{value!r} is too short: it takes {self.least} or more")
            for number, one in enumerate(value):
                yield from (fault._replace(key=str(number)) for fault in self.within.faults(one))

    def plain(self, value: Any) -> Any:
        return value


Count = Annotated[int, Within(1)]
Fraction = Annotated[float, Within(0, 1)]
Whole = Annotated[int, Within(0)]
NotNegative = Annotated[float, Within(0)]
Positive = Annotated[float, Within(above=0)]
