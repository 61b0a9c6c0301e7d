"""How the entries of a list are marked and parted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from dtm.augment.rules.constraints import Constraint, Other, cased_like, rule
from dtm.augment.rules.texts import MARKER

BULLET, NUMBERED = re.compile(r"^\s*[-*•]\s+"), re.compile(r"^\s*\d+[.)]\s+")
STYLES = {
    "bullets": (
        "as a bulleted list",
        r"(?:as|in|using|use|with) (?:a )?(?:bulleted list|bullet points?|bullets)",
    ),
    "numbers": ("as a numbered list", r"(?:as|in|using|use|with) (?:a )?numbered list"),
}
PARTED = {
    ", ": ("separated by commas", r"(?:separated (?:by|with) commas|comma[- ]separated)"),
    "; ": ("separated by semicolons", r"(?:separated (?:by|with) semicolons|semicolon[- ]separated)"),
    "\n": ("one on each line", r"(?:one (?:on each|per|a) line|on separate lines|each on a new line)"),
}


@rule("list_style")
def list_style(instruction: str) -> Iterator[Constraint]:
    """A list with bullets or with numbers."""
    for name, (_, pattern) in STYLES.items():
        for found in re.finditer(rf"\b{pattern}\b", instruction, re.IGNORECASE):
            (other,) = set(STYLES) - {name}
            yield Constraint(
                "list_style", found.start(), found.end(), _styled(name), _restyled(found[0], other)
            )


def _styled(name: str) -> Callable[[str], bool]:
    wanted, other = (BULLET, NUMBERED) if name == "bullets" else (NUMBERED, BULLET)

    def follows(text: str) -> bool:
        lines = text.splitlines()
        return sum(bool(wanted.match(line)) for line in lines) > 1 and not any(map(other.match, lines))

    return follows


def _restyled(said: str, name: str) -> Callable[[str], Iterator[Other]]:
    def others(response: str) -> Iterator[Other]:
        lines, number = [], 0
        for line in response.splitlines():
            if MARKER.match(line):
                number += 1
                line = MARKER.sub("- " if name == "bullets" else f"{number}. ", line)
            lines.append(line)
        yield Other(cased_like(said, STYLES[name][0]), _styled(name), "\n".join(lines))

    return others


@rule("separator")
def separator(instruction: str) -> Iterator[Constraint]:
    """Entries that stand behind commas, behind semicolons, or on lines of their own."""
    for mark, (_, pattern) in PARTED.items():
        for found in re.finditer(rf"\b{pattern}\b", instruction, re.IGNORECASE):

            def others(response: str, mark: str = mark, said: str = found[0]) -> Iterator[Other]:
                parts = response.strip().split(mark)
                for other, (asked, _) in PARTED.items():
                    if other != mark:
                        yield Other(cased_like(said, asked), _parted(other), other.join(parts))

            yield Constraint("separator", found.start(), found.end(), _parted(mark), others)


def _parted(mark: str) -> Callable[[str], bool]:
    def follows(text: str) -> bool:
        text = text.strip()
        return mark in text and not any(other in text for other in PARTED if other != mark)

    return follows
