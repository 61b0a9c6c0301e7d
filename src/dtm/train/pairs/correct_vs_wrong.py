"""Sampled paths with the right final answer against those with a wrong one.

Wang, Li, Lu: "Self-training with direct preference optimization improves chain-of-thought reasoning" (DPO-ST),
arXiv:2407.18248: the row's own rationale is always among the chosen, near-duplicates by token Jaccard 0.7 are dropped,
a question without a wrong path gives no pair, and the 3 least similar pairs of a question are kept.

For Self-Refine Instruction-Tuning (arXiv:2405.00402) this rule is a guess, the documented one: its text was not at
hand, and what is known of it is that ground truth decides. `cot_vs_direct` is the other recollection.
"""

from __future__ import annotations

from dtm.foundations.registry import registry
from dtm.foundations.settings import Count, Fraction
from dtm.train.pairs.answers import Paired, Question, distinct, least_alike


@registry("pair").register("correct_vs_wrong", paper="arXiv:2407.18248")
def correct_vs_wrong(question: Question, *, near: Fraction = 0.7, keep: Count = 3) -> Paired:
    """Right paths, the row's own answer among them, against wrong ones; the least similar pairs of a question."""
    right = [path for path in question.paths if path.right]
    wrong = [path for path in question.paths if not path.right]
    chosen, rejected = distinct([question.gold, *right], near), distinct(wrong, near)
    dropped = 1 + len(question.paths) - len(chosen) - len(rejected)
    if not rejected:
        return Paired(reason="no wrong path", near=dropped)
    return Paired(least_alike(chosen, rejected, keep), near=dropped)
