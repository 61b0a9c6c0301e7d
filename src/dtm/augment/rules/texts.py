"""Texts cut where their sense allows: sentences as they stand, entries of a list."""

from __future__ import annotations

import re

from dtm.foundations.instructions.words import sentences

MARKER = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text."""
    return sentences(text)


def first_sentences(text: str, count: int) -> str | None:
    """The beginning of the text with so many sentences, as it stands; None where it has no more than these."""
    found, place = sentences(text), 0
    if len(found) <= count:
        return None
    for one in found[:count]:
        place = text.index(one, place) + len(one)
    return text[:place]


def without(text: str, word: str) -> str | None:
    """The text without the sentences that hold the word, in any case; None where nothing or all of it is left."""
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
    kept = [one for one in sentences(text) if not pattern.search(one)]
    return " ".join(kept) if kept and len(kept) < len(sentences(text)) else None


def entries(text: str) -> list[str]:
    """The entries of a text that is a list: marked lines, or all lines, or what stands between commas of one line."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    marked = [line for line in lines if MARKER.match(line)]
    if marked:
        return marked
    if len(lines) > 1:
        return lines
    parts = re.split(r",\s+(?:and\s+)?|\s+and\s+", text.strip().rstrip("."))
    return [part for part in parts if part] if len(parts) > 1 and "." not in text.strip().rstrip(".") else []


def listed(text: str, count: int) -> str | None:
    """The list with its first entries alone; None where it has no more than these."""
    found = entries(text)
    if len(found) <= count:
        return None
    lines = text.strip().splitlines()
    if len(lines) == 1:
        end = "." if text.rstrip().endswith(".") else ""
        return ", ".join(found[:count]) + end
    dropped = set(found[count:])
    return "\n".join(line for line in lines if line not in dropped).rstrip()
