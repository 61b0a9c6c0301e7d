"""What words, sentences, paragraphs and languages are, where an instruction counts them.

IFEval's authors count by nltk, whose data has to be downloaded; here rules do, so a count may differ by one where a
text is unusual. Languages are told by langdetect, seeded, as theirs are.
"""

from __future__ import annotations

import re
from typing import Literal

Relation = Literal["at least", "less than"]

WORD = re.compile(r"\w+")
TOKEN = re.compile(r"\w+(?:['’./-]\w+)*")  # "U.S." and "T-SHIRT" are one word each
CONTRACTED = re.compile(
    r"(?i)(?<=\w)(?:n't|'(?:s|m|d|ll|re|ve))$"
)  # ... and "NASA's" two, as nltk parts them
SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]+|\n\s*\n")
ABBREVIATIONS = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "sr",
        "jr",
        "st",
        "vs",
        "etc",
        "inc",
        "ltd",
        "co",
        "corp",
        "mt",
        "no",
        "vol",
        "fig",
        "approx",
        "dept",
        "est",
        "gen",
        "rev",
        "hon",
        "capt",
        "col",
        "sgt",
        "lt",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
        "e.g",
        "i.e",
        "a.m",
        "p.m",
        "u.s",
        "u.k",
    ]
)


def holds(count: int, relation: Relation, bound: int) -> bool:
    """Whether a count is in that relation to a bound."""
    return count >= bound if relation == "at least" else count < bound


def words(text: str) -> list[str]:
    """Runs of letters, digits and _."""
    return WORD.findall(text)


def tokens(text: str) -> list[str]:
    """Words as nltk parts them, without punctuation: what stands between blanks, contractions apart."""
    found: list[str] = []
    for word in TOKEN.findall(text):
        end = CONTRACTED.search(word)
        found += [word] if end is None else [word[: end.start()], end[0]]
    return found


def sentences(text: str) -> list[str]:
    """Stretches that end in . ! ? or an empty line; the stop of an abbreviation, an initial or a number ends none."""
    found, start = [], 0
    for end in SENTENCE_END.finditer(text):
        if end[0] == "." and _abbreviates(text[start : end.start()], text[end.end() :]):
            continue
        found.append(text[start : end.end()])
        start = end.end()
    return [one.strip() for one in (*found, text[start:]) if WORD.search(one)]


def _abbreviates(before: str, after: str) -> bool:
    """Whether a full stop belongs to the word before it."""
    last = re.search(r"(\S+)$", before)
    if last is None:
        return False
    word = last[1].lstrip("(\"'“‘").lower()
    follows = after.lstrip()[:1]
    if word in ABBREVIATIONS:
        return bool(follows) and (not follows.isupper() or word in ("mr", "mrs", "ms", "dr", "prof", "st"))
    if len(word) == 1 and word.isalpha() and word != "i":
        return bool(follows)  # an initial: "J. Smith"
    at_line_start = before.rstrip()[: -len(last[1])].endswith("\n") or before.strip() == last[1]
    return word.isdigit() and at_line_start  # "1. First" in a list


def parts(text: str, divider: str) -> list[str] | None:
    """The text between dividers (a regular expression); blank ends do not count, a blank middle gives None."""
    found = re.split(divider, text)
    inner = [part for place, part in enumerate(found) if part.strip() or 0 < place < len(found) - 1]
    return inner if all(part.strip() for part in inner) else None


def language(text: str) -> str | None:
    """The code of the language that the text is in, or None where none can be told."""
    from langdetect import DetectorFactory, LangDetectException, detect

    DetectorFactory.seed = 0
    try:
        return detect(text)
    except LangDetectException:
        return None


def is_in(text: str, code: str) -> bool:
    """Whether the text is in that language; one whose language cannot be told is."""
    return language(text) in (code, None)
