"""How long a unit's rows are."""

from __future__ import annotations

import numpy as np

from dtm.foundations.errors import DataError


def length_of(tokens: np.ndarray | None, rows_N: np.ndarray, *, where: str) -> np.ndarray:
    """Tokens a row, the mean over a unit's rows, float64 [N]. Raises DataError before rendering."""
    if tokens is None:
        raise unrendered(where)
    return tokens / np.maximum(rows_N, 1)


def unrendered(where: str) -> DataError:
    """The error of a method that asks for tokens before there are any."""
    return DataError(
        "the rows are not rendered yet, so their tokens are not known", where=where,
        mend="Render them first, or choose what does not need tokens",
    )  # fmt: skip
