"""Constraints that a rule can find in an instruction, check in a response, and exchange for another: kind `constraint`.

rule(instruction) -> the constraints that it finds, see `constraints`
"""

from dtm.augment.rules import (  # noqa: F401 - registers the rules
    counts,
    ends,
    forms,
    keywords,
    language,
    marks,
    word_lists,
)
