"""What a response says in the end: text compared, numbers read, and a registry of extractors.

An extractor is a function `(response, *, settings) -> text | None` of kind `answer`: the final answer in the one form
in which two equal answers are equal texts, or None where the response holds none.
"""

from dtm.foundations.answers import extracting  # noqa: F401 - registers the extractors
from dtm.foundations.answers.comparing import matches, normalise, number_in

__all__ = ["matches", "normalise", "number_in"]
