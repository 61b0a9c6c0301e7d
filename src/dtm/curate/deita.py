"""Complexity times quality, from the best down, passing over rows that are like one that is kept.

Liu et al., "What Makes Good Data for Alignment? A Comprehensive Study of Automatic Data Selection in Instruction
Tuning", arXiv:2312.15685: score = complexity x quality, each 1 to 6 from scorers trained on ChatGPT's rankings; a row
joins if its embedding is not nearer than tau = 0.9 to one that is kept.

What is not the paper's: its trained scorers. `complexity` and `quality` name scorers of ours: {name: field, field: ...}
reads numbers from the data (the paper's own, say), {name: rating, of: ...} asks a language model. The defaults are
stand-ins that need neither, not its scores: the base's `ifd`, and the length of the response, whose correlation with
judged quality is known and is no quality. The embedding is the section's embedder, not the hidden state of a 13B model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dtm.curate.choosing import NO_SCORE, Choice, ranked
from dtm.foundations.errors import DataError
from dtm.foundations.registry import registry
from dtm.foundations.settings import Fault, Fraction, NotNegative
from dtm.foundations.types import Examples


def check(settings: Mapping[str, Any], counted: bool) -> Iterator[Fault]:
    """Something has to end the choice."""
    if settings["least"] is None and not counted:
        yield Fault("", "nothing says how many rows to keep", "Set fraction, rows or least")


@registry("curate").register(
    "deita", paper="arXiv:2312.15685", needs=("complexity", "quality", "embedding"), count="optional",
    scorers={"complexity": "ifd", "quality": "length"}, check=check,
)  # fmt: skip
def deita(
    examples_N: Examples,
    count: int | None,
    seed: int,
    *,
    complexity: np.ndarray,
    quality: np.ndarray,
    embedding: np.ndarray,
    similarity: Fraction = 0.9,
    least: NotNegative | None = None,
) -> Choice:
    """Up to `count` rows by the product of the scores, of `least` or more, no two more alike than `similarity`."""
    score_N = np.asarray(complexity, np.float64) * np.asarray(quality, np.float64)
    if (np.minimum(complexity, quality) < 0).any():
        raise DataError("a score is negative, and scores are multiplied", where="curate",
                        mend="Give scores of 0 or more")  # fmt: skip
    reason_N = np.where(np.isfinite(score_N), "lower score", NO_SCORE).astype(object)
    order = ranked(score_N, seed)
    if least is not None:
        reason_N[order[score_N[order] < least]] = f"score below {least:g}"
        order = order[score_N[order] >= least]
    room = len(order) if count is None else count
    taken_MD = np.empty((min(room, len(order)), embedding.shape[1]), np.float32)
    taken: list[int] = []
    ids = examples_N.column("id")
    for row in order.tolist():
        if len(taken) == room:
            break
        point_D = np.asarray(embedding[row], np.float32)
        alike_M = taken_MD[: len(taken)] @ point_D
        if len(taken) and alike_M.max() > similarity:
            near = int(alike_M.argmax())
            reason_N[row] = f"like a better row ({alike_M[near]:.2f} to {ids[taken[near]]})"
            continue
        taken_MD[len(taken)] = point_D
        taken.append(row)
    reason_N[taken] = ""
    return Choice(reason_N == "", reason_N, score_N)
