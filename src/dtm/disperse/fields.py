"""What the data says of its own rows: values of a field of `meta`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dtm.foundations.errors import DataError
from dtm.foundations.meta import look, read_meta
from dtm.foundations.settings import is_number
from dtm.foundations.types import Examples


def values(examples_N: Examples, field: str, *, where: str) -> list[Any]:
    """The value of `field` in each row's meta; `a.b` is the field b of the field a.

    Raises DataError when a row lacks it, with how many do and which fields there are.
    """
    found: list[Any] = []
    lacking: list[int] = []
    known: set[str] = set()
    for number, text in enumerate(examples_N.column("meta")):
        meta = read_meta(text)
        known.update(_names(meta))
        value = look(meta, field)
        found.append(value)
        if value is None:
            lacking.append(number)
    if lacking:
        raise DataError(
            f"{len(lacking)} of {len(found)} rows have no field {field!r}, the first is "
            f"{examples_N.column('id')[lacking[0]]}",
            where=where,
            mend=f"There is: {', '.join(sorted(known)[:20]) or 'no field at all'}",
        )
    return found


def numbers(examples_N: Examples, field: str, *, where: str) -> np.ndarray:
    """The same as float64 [N]. Raises DataError as well on a value that is no finite number."""
    found = values(examples_N, field, where=where)
    for number, value in enumerate(found):
        if not is_number(value):
            raise DataError(
                f"the field {field!r} of row {examples_N.column('id')[number]} is {str(value)[:40]!r}, "
                "which is not a number",
                where=where,
            )
    return np.array(found, np.float64)


def _names(meta: dict[str, Any], above: str = "") -> Iterator[str]:
    """The fields that hold a value, those inside others by `a.b`."""
    for name, value in meta.items():
        if isinstance(value, dict) and value:
            yield from _names(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"
