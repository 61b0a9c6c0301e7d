"""Of rows that say nearly the same, one.

Broder 1997, "On the resemblance and containment of documents", by MinHash, each pair checked exactly
(`foundations/signals/near_duplicates.py`). Of pre-training data: Lee et al., "Deduplicating Training Data Makes
Language Models Better", arXiv:2107.06499.
"""

from __future__ import annotations

import numpy as np

from dtm.curate.choosing import Choice
from dtm.foundations.registry import registry
from dtm.foundations.settings import Fraction
from dtm.foundations.signals.near_duplicates import THRESHOLD, near_duplicates
from dtm.foundations.signals.text import Side, Texts
from dtm.foundations.types import Examples


@registry("curate").register("near_duplicates", paper="arXiv:2107.06499", count="none", version=2)
def without_near_duplicates(
    examples_N: Examples, count: None, seed: int, *, threshold: Fraction = THRESHOLD, on: Side = "both"
) -> Choice:
    """The first row of each group, with its family: copies that `weight` asked for stay."""
    group_N = near_duplicates(Texts(examples_N, on), threshold=threshold)
    ids, families = examples_N.column("id"), examples_N.column("family")
    reason_N = np.full(len(examples_N), "", dtype=object)
    first: dict[int, int] = {}
    for row, group in enumerate(group_N.tolist()):
        kept = first.setdefault(group, row) if group >= 0 else row
        if families[row] != families[kept]:
            reason_N[row] = f"nearly the same as another row ({ids[kept]})"
    return Choice(reason_N == "", reason_N)
