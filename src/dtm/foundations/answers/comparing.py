"""Reading a model's answer: what counts as the same text, and which number was said last."""

from __future__ import annotations

import re
import string
from decimal import Decimal

NUMBER = re.compile(r"(?<![\d.])[-−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`“”"))


def normalise(answer: str) -> str:
    """Lower case without punctuation, English articles and extra spaces (SQuAD, Rajpurkar et al. 2016).

    An answer that consists of nothing else keeps its form, so that "The" is not the empty answer.
    """
    plain = " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())
    return plain or " ".join(answer.lower().split())


def matches(response: str, answers: tuple[str, ...], *, exact: bool) -> bool:
    """Whether a response is one of the accepted answers."""
    form = str.strip if exact else normalise
    return form(response) in {form(answer) for answer in answers}


def number_in(response: str) -> Decimal | None:
    """The last number of a text, or None: "-1,200.50" and "$-1200.5" are equal, "16-3" ends in 3."""
    found = NUMBER.findall(response)
    return Decimal(found[-1].replace(",", "").replace("−", "-")) if found else None
