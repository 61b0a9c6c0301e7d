"""Instructions on how a response begins, ends and is put together."""

from __future__ import annotations

from dtm.foundations.instructions.words import parts
from dtm.foundations.registry import registry

instruction = registry("instruction").register
PAPER = "arXiv:2311.07911"


@instruction("combination:two_responses", paper=PAPER)
def two_responses(response: str) -> bool:
    """Two responses that differ, divided by ******."""
    found = parts(response, r"\*{6}")
    return found is not None and len(found) == 2 and found[0].strip() != found[1].strip()


@instruction("combination:repeat_prompt", paper=PAPER)
def repeat_prompt(response: str, *, prompt_to_repeat: str) -> bool:
    """It begins with the request, word for word, in any case."""
    return response.strip().lower().startswith(prompt_to_repeat.strip().lower())


@instruction("startend:end_checker", paper=PAPER)
def end_checker(response: str, *, end_phrase: str) -> bool:
    """It ends with that phrase, in any case; a quotation mark behind it does not count."""
    return response.strip().strip('"').lower().endswith(end_phrase.strip().lower())


@instruction("startend:quotation", paper=PAPER)
def quotation(response: str) -> bool:
    """All of it is wrapped in double quotation marks."""
    stripped = response.strip()
    return len(stripped) > 1 and stripped.startswith('"') and stripped.endswith('"')
