"""Constraints for instructions that have none: any response can be given the form."""

from __future__ import annotations

from random import Random

from dtm.augment.rules.constraints import Other
from dtm.augment.rules.ends import LAST, ends
from dtm.augment.rules.forms import FORMS, has

WHOLE = ("capitals", "small letters", "square brackets", "quotation marks")


def attachable(response: str, random: Random) -> list[Other]:
    """Sentences that ask for a form of the whole response, each with the response in it; in random order."""
    found = [
        Other(f"Write your whole answer {form.asked}.", has(form), form.write(response))
        for form in FORMS if form.name in WHOLE and form.read(form.write(response)) is not None
    ]  # fmt: skip
    found += [
        Other(f'End your answer with the phrase "{phrase}"', ends(phrase), f"{response.rstrip()} {phrase}")
        for phrase in LAST
    ]
    random.shuffle(found)
    return found
