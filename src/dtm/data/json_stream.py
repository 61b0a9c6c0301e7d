"""Large JSON values read an element at a time: an array of rows, or an object that holds one."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from dtm.data.unpack import Damaged

SPACE = re.compile(r"[ \t\n\r\ufeff]*")
MARGIN = 16  # this close to the end of what was read, a token may be cut in two
TURNS = ("messages", "conversations", "conversation", "prompt", "completion", "history")


class Broken(Exception):
    """The JSON text is wrong here, and the rest cannot be read."""


def decoder() -> json.JSONDecoder:
    """NaN and Infinity, which Python writes and JSON does not have, become null."""
    return json.JSONDecoder(parse_constant=lambda name: None)


class Text:
    """JSON text that arrives in chunks; bytes that are not UTF-8 become lone surrogates."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks, self.buffer, self.at = iter(chunks), "", 0
        self.utf8 = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        self.decode = decoder().raw_decode
        self.damage: Damaged | None = None

    def more(self) -> bool:
        """Read on, at least doubling what is held, so that a huge value is tried few times."""
        parts, wanted = [self.buffer[self.at :]], len(self.buffer) - self.at
        got, ended = 0, False
        while got <= wanted and not ended:
            try:
                chunk = next(self.chunks, None)
            except Damaged as damage:
                self.damage, chunk = damage, None
            ended = chunk is None
            text = self.utf8.decode(chunk or b"", final=ended)
            parts.append(text)
            got += len(text)
        if got:
            self.buffer, self.at = "".join(parts), 0
        return got > 0

    def peek(self) -> str:
        """The next character that is no space, or nothing at the end."""
        while True:
            if space := SPACE.match(self.buffer, self.at):
                self.at = space.end()
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self.more():
                return ""

    def take(self, expected: str) -> str:
        """Pass over the next character, which must be one of these."""
        found = self.peek()
        if not found or found not in expected:
            raise self.broken(
                f"{found!r} stands where {' or '.join(expected)} belongs" if found else "the text ends"
            )
        self.at += 1
        return found

    def value(self) -> Any:
        """The next whole value."""
        self.peek()
        while True:
            try:
                value, end = self.decode(self.buffer, self.at)
                if end > len(self.buffer) - MARGIN and self.more():
                    continue  # a number may go on: `1` of `1.5e+3`
                self.at = end
                return value
            except RecursionError:
                raise self.broken("nested too deep") from None
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos > len(self.buffer) - MARGIN
                if not (cut and self.more()):
                    raise self.broken(error.msg) from None
            except ValueError as error:  # a number of more digits than Python reads
                raise self.broken(str(error)) from None

    def elements(self) -> Iterator[Any]:
        """The elements of the array that comes next."""
        self.take("[")
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def broken(self, why: str) -> Broken:
        return Broken(str(self.damage or why))

    def rest(self) -> str:
        return self.buffer[self.at : self.at + 1000]


def rows(text: Text) -> Iterator[Any]:
    """The elements of an array; or the list of objects in an object; or else the object itself.

    Several such values may follow one another. Raises Broken.
    """
    while text.peek():
        yield from text.elements() if text.peek() == "[" else _members(text)
    if text.damage:
        raise Broken(str(text.damage))


def _members(text: Text) -> Iterator[Any]:
    row: dict[str, Any] = {}
    found = None
    text.take("{")
    if text.peek() == "}":
        text.at += 1
    else:
        while True:
            key = text.value()
            text.take(":")
            if text.peek() == "[" and key not in TURNS:
                elements = text.elements()
                begun = list(islice(elements, 1))
                if not (begun and isinstance(begun[0], dict)):
                    row[key] = [*begun, *elements]
                elif found:
                    raise Broken(
                        f"the list {key!r} stands beside the list {found!r}: one file, one list of rows"
                    )
                else:
                    found = key
                    yield from begun
                    yield from elements
            else:
                row[key] = text.value()
            if text.take(",}") == "}":
                break
    if not found:
        yield row
