"""By difficulty: the easiest rows in the first portion, the hardest in the last.

What is hard says a field of the data (a judge's score, a person's), or the base: its loss on a response,
the higher the harder. Bengio et al. 2009, "Curriculum learning", orders rows so; here they part.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from dtm.disperse.fields import numbers
from dtm.disperse.joining import beside
from dtm.disperse.lengths import unrendered
from dtm.disperse.runs import cut
from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


def join(
    examples_N: Examples, before_N: np.ndarray, k: int, *, by: str, loss: np.ndarray | None = None, **_: Any
) -> np.ndarray:
    """New rows go where the known row is that is most nearly as hard."""
    hard_N = loss if by == "loss" else numbers(examples_N, by, where="disperse.by")
    return beside(np.asarray(hard_N), before_N)


@registry("disperse").register(
    "by_difficulty",
    join=join,
    needs=("rows", "tokens", "loss"),
    uses=lambda settings: ("rows", "tokens", *(("loss",) if settings["by"] == "loss" else ())),
)
def by_difficulty(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    rows: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    loss: np.ndarray | None = None,
    by: str = "loss",
    balance: Literal["rows", "tokens"] = "rows",
) -> np.ndarray:
    """Sort by difficulty and cut into k runs of as many rows, or tokens, each.

    `by` is `loss`, the base's mean negative log likelihood a response token in nats, or a field of meta
    that holds a number. Nothing is drawn: `seed` is not read, and rows of equal difficulty stay in order.

    Raises DataError when a row lacks the field or it is no number, or tokens are asked for before rendering.
    """
    hard_N = loss if by == "loss" else numbers(examples_N, by, where="disperse.by")
    weights_N = tokens if balance == "tokens" else rows
    if weights_N is None:
        if balance == "tokens":
            raise unrendered("disperse.balance")
        weights_N = np.ones(len(examples_N), np.int64)
    return cut(np.argsort(np.asarray(hard_N), kind="stable"), weights_N, k)
