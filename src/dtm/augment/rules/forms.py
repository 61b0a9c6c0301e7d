"""The form of a response as a whole: its case, what it stands between, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dtm.augment.rules.constraints import Check, Constraint, Other, cased_like, rule


@dataclass(frozen=True)
class Form:
    """How it is asked for, how a text gets it, and how the text is read out of it again (None: it has not that form).

    A `lossy` form keeps the text but for its case, so that no other form but its contrary can be made of it.
    """

    name: str
    asked: str
    pattern: str
    write: Callable[[str], str]
    read: Callable[[str], str | None]
    lossy: bool = False


def _between(left: str, right: str) -> Callable[[str], str | None]:
    def read(text: str) -> str | None:
        whole = len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right)
        inner = text[len(left) : len(text) - len(right)] if whole else ""
        return inner if inner and left not in inner and right not in inner else None

    return read


def _twice(text: str) -> str | None:
    half = text[: len(text) // 2]
    return half if half and text == f"{half}/{half}" else None


def _json(text: str) -> str | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    one = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else None
    return one if isinstance(one, str) and one else None


FORMS = (
    Form("capitals", "in capital letters", r"in (?:all )?(?:(?:capital|upper-?case) letters|capitals|caps|upper-?case)",
         str.upper, lambda text: text if text.isupper() else None, lossy=True),
    Form("small letters", "in small letters", r"in (?:all )?(?:(?:small|lower-?case) letters|lower-?case)",
         str.lower, lambda text: text if text.islower() else None, lossy=True),
    Form("square brackets", "in square brackets", r"(?:in|with|within|inside|between) square brackets",
         "[{}]".format, _between("[", "]")),
    Form("parentheses", "in parentheses", r"(?:in|with|within|inside|between) (?:parentheses|round brackets)",
         "({})".format, _between("(", ")")),
    Form("quotation marks", "in double quotation marks",
         r"(?:in|with|within|inside|between) (?:double )?(?:quotation marks|quotes)",
         '"{}"'.format, _between('"', '"')),
    Form("stars", "between two stars", r"between two (?:stars|asterisks)", "*{}*".format, _between("*", "*")),
    Form("twice", "twice, with a slash between", r"twice, with a slash between", "{0}/{0}".format, _twice),
)  # fmt: skip
KEYS = ("answer", "result", "value")
JSON = re.compile(r'as JSON with the key ["“](\w+)["”]', re.IGNORECASE)


@rule("form")
def form(instruction: str) -> Iterator[Constraint]:
    """The whole response in capitals, in small letters, between marks, twice, or as JSON with one key."""
    for one in FORMS:
        for found in re.finditer(rf"\b(?:{one.pattern})\b", instruction, re.IGNORECASE):
            yield _constraint(one, found[0], found.start())
    for found in JSON.finditer(instruction):
        yield _constraint(json_form(found[1]), found[0], found.start())


def json_form(key: str) -> Form:
    """JSON with that one key."""

    def write(text: str) -> str:
        return json.dumps({key: text}, ensure_ascii=False)

    def read(text: str) -> str | None:
        content = _json(text)
        return content if content is not None and write(content) == text else None

    return Form(f"JSON: {key}", f'as JSON with the key "{key}"', "", write, read)


def _constraint(one: Form, said: str, start: int) -> Constraint:
    def others(response: str) -> Iterator[Other]:
        content = one.read(response)
        every = [other for other in (*FORMS, *map(json_form, KEYS)) if other.name != one.name]
        for other in every:
            if content is None or (one.lossy and not other.lossy):
                continue
            written = other.write(content)
            if other.read(written) is not None and one.read(written) is None:
                yield Other(cased_like(said, other.asked), has(other), written)

    return Constraint("form", start, start + len(said), has(one), others)


def has(one: Form) -> Check:
    """Whether a text has that form."""
    return lambda text: one.read(text) is not None
