"""Instructions on the marks that a response carries: lists, titles, placeholders, sections."""

from __future__ import annotations

import json
import re

from dtm.foundations.registry import registry

instruction = registry("instruction").register
PAPER = "arXiv:2311.07911"
FENCE = re.compile(r"^```(?:json)?\s*\n?|\n?```$", re.IGNORECASE)
ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


@instruction("detectable_content:number_placeholders", paper=PAPER)
def number_placeholders(response: str, *, num_placeholders: int) -> bool:
    """At least so many placeholders in square brackets."""
    return len(re.findall(r"\[[^\n\]]*\]", response)) >= num_placeholders


@instruction("detectable_content:postscript", paper=PAPER)
def postscript(response: str, *, postscript_marker: str) -> bool:
    """A postscript, which begins with that marker: P.S. or P.P.S, in any case, spaces allowed between the letters."""
    letters = [one for one in postscript_marker.lower() if one.isalpha()]
    marker = r"\.\s?".join(map(re.escape, letters))
    closing = r"\." if postscript_marker.rstrip().endswith(".") else ""
    return re.search(rf"(?<!\w){marker}{closing}", response.lower()) is not None


@instruction("detectable_format:number_bullet_lists", paper=PAPER)
def number_bullet_lists(response: str, *, num_bullets: int) -> bool:
    """Exactly so many bullets: lines that begin with * (not **) or -."""
    return len(re.findall(r"^\s*(?:\*(?!\*)|-)", response, re.MULTILINE)) == num_bullets


@instruction("detectable_format:constrained_response", paper=PAPER)
def constrained_response(response: str) -> bool:
    """It holds one of the three answers: yes, no, maybe."""
    return any(answer in response for answer in ANSWERS)


@instruction("detectable_format:number_highlighted_sections", paper=PAPER)
def number_highlighted_sections(response: str, *, num_highlights: int) -> bool:
    """At least so many stretches between asterisks; between double ones each pattern counts, as their code has it."""
    single = [one.strip("*") for one in re.findall(r"\*[^\n*]*\*", response)]
    double = [one.removeprefix("**").removesuffix("**") for one in re.findall(r"\*\*[^\n*]*\*\*", response)]
    return sum(bool(one.strip()) for one in (*single, *double)) >= num_highlights


@instruction("detectable_format:multiple_sections", paper=PAPER)
def multiple_sections(response: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many sections, each headed by that word and a number."""
    return len(re.findall(rf"{re.escape(section_spliter)}\s*\d+", response)) >= num_sections


@instruction("detectable_format:json_format", paper=PAPER)
def json_format(response: str) -> bool:
    """All of it is JSON, in a code fence or not."""
    try:
        json.loads(FENCE.sub("", FENCE.sub("", response.strip())))
    except (ValueError, RecursionError):
        return False
    return True


@instruction("detectable_format:title", paper=PAPER)
def title(response: str) -> bool:
    """A title in double angular brackets."""
    return any(found.strip("<> ") for found in re.findall(r"<<[^\n]+>>", response))
