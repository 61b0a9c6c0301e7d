"""Pair rules: which of a question's answers is preferred to which. One file a rule, registered under `pair`.

    rule(question, *, settings) -> Paired

A rule with `needs=("direct",)` wants the model's answers without a chain of thought as well.
"""

from dtm.train.pairs import correct_vs_wrong, cot_vs_direct  # noqa: F401 - registers the rules
