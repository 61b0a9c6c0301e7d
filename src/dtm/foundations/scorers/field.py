"""By a field of the data: a judge's scores from elsewhere, a person's, a grade."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtm.foundations.meta import look, read_meta
from dtm.foundations.registry import registry
from dtm.foundations.settings import is_number
from dtm.foundations.types import Examples


@registry("scorer").register("field")
def field(examples_N: Examples, *, field: str) -> np.ndarray:
    """The number in that field of each row's meta (`a.b` is the field b of the field a), or NaN, float64 [N].

    A number that is written as text, such as "4.5", is one too.
    """
    found = [look(read_meta(text), field) for text in examples_N.column("meta")]
    return np.array([_number(value) for value in found], np.float64)


def _number(value: Any) -> float:
    if is_number(value):
        return float(value)
    try:
        number = float(value) if isinstance(value, str) else np.nan
    except ValueError:
        return np.nan
    return number if np.isfinite(number) else np.nan
