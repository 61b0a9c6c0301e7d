"""A chain of thought that reaches the target against the model's own answer without one.

A recollection of Self-Refine Instruction-Tuning, arXiv:2405.00402, not checked against its text: chosen is the
model's chain-of-thought answer where it holds the target, else the teacher's (the row's own); rejected is what the
model answers directly. The model is asked once more for that, by `sample.direct`.
"""

from __future__ import annotations

from dtm.foundations.registry import registry
from dtm.foundations.settings import Count, Fraction
from dtm.train.pairs.answers import Paired, Question, distinct, least_alike


@registry("pair").register("cot_vs_direct", paper="arXiv:2405.00402", needs=("direct",))
def cot_vs_direct(question: Question, *, near: Fraction = 0.7, keep: Count = 3) -> Paired:
    """Right sampled paths, or the row's own answer where there is none, against direct answers, right or wrong."""
    right = distinct((path for path in question.paths if path.right), near)
    chosen = right or [question.gold]
    said = {path.text for path in chosen}
    rejected = distinct((one for one in question.direct if one.text not in said), near)
    dropped = sum(path.right for path in question.paths) - len(right) + len(question.direct) - len(rejected)
    if not rejected:
        return Paired(reason="direct answers say the same", near=dropped)
    return Paired(least_alike(chosen, rejected, keep), near=dropped)
