"""From a bound method to portions that hold: families whole, every row placed, none empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dtm.foundations.errors import DataError, MethodError
from dtm.foundations.registry import Bound
from dtm.foundations.types import Examples

COUNTED = ("rows", "tokens", "trained_tokens")  # what `assign` counts itself; other needs are handed in


def needed(bound: Bound) -> tuple[str, ...]:
    """The signals that the method needs with these settings: names to compute and to hand to `assign`."""
    return tuple(name for name in _used(bound) if name not in COUNTED)


def _used(bound: Bound) -> tuple[str, ...]:
    """Of all needs of the method those that its settings ask for: `uses(settings)` where it says so."""
    uses = bound.method.properties.get("uses")
    return uses(bound.settings) if uses else bound.method.needs


def assign(
    bound: Bound, examples: Examples, k: int, seed: int, signals: Mapping[str, Any] | None = None
) -> np.ndarray:
    """The portion of every row, int64 [N] in [0, k), with the rows of one `family` together.

    The method sees one row a family, its first, and the signals of that row, arrays or `Grouped`; a family's
    rows, tokens and trained tokens come along as `rows`, `tokens` (None before rendering) and `trained_tokens`.

    Raises DataError when k does not fit the rows or a portion stays empty, MethodError when a signal is
    missing or the method answers with something else than portions.
    """
    first_F, family_N = units(examples)
    _check_k(k, len(first_F), len(examples))
    whole = len(first_F) == len(examples)
    representatives = examples if whole else examples.take(first_F)
    extra = needs_of(bound, examples, first_F, family_N, signals or {})
    portions_F = _checked(bound, bound(representatives, k, seed, **extra), k, len(first_F))
    return portions_F if whole else portions_F[family_N]


def units(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """First row of each family [F], in order of appearance, and the family of each row [N]."""
    import pyarrow.compute as pc

    codes = examples.table.column("family").combine_chunks()
    family_N = pc.dictionary_encode(codes, null_encoding="encode").indices.to_numpy().astype(np.int64)
    _, first_F = np.unique(family_N, return_index=True)  # codes count up in order of appearance
    return first_F, family_N


def _check_k(k: int, families: int, rows: int) -> None:
    if k < 1:
        raise DataError(f"{k} portions make no sense", where="disperse.k", mend="Set k to 1 or more")
    if k > families:
        having = f"{rows} rows" if families == rows else f"{families} families ({rows} rows)"
        raise DataError(
            f"{having} cannot fill {k} portions",
            where="disperse.k",
            mend=f"Set k to {families} or less, or add data" if families else "Add data",
        )


def needs_of(
    bound: Bound,
    examples: Examples,
    first_F: np.ndarray,
    family_N: np.ndarray,
    signals: Mapping[str, Any],
) -> dict[str, Any]:
    """The arrays [F, ...] that the method declared, by name."""
    extra: dict[str, Any] = {}
    counted = examples.token_counts() if examples.rendered else (None, None)
    for name in _used(bound):
        if name in COUNTED:
            counts_N = {
                "rows": np.ones(len(examples), np.int64),
                "tokens": counted[0],
                "trained_tokens": counted[1],
            }
            extra[name] = _sum(family_N, counts_N[name])
        elif name not in signals:
            raise MethodError(
                f"disperse method {bound.method.name!r} needs the signal {name!r}", where="disperse"
            )
        elif len(signals[name]) != len(examples):
            raise DataError(f"the signal {name!r} has {len(signals[name])} rows, the data {len(examples)}")
        else:
            extra[name] = signals[name] if len(first_F) == len(examples) else signals[name][first_F]
    return extra


def _sum(family_N: np.ndarray, counts_N: np.ndarray | None) -> np.ndarray | None:
    """The counts of each family [F], or None where there are none."""
    if counts_N is None:
        return None
    total_F = np.zeros(family_N.max() + 1, np.int64)
    np.add.at(total_F, family_N, counts_N)
    return total_F


def _checked(bound: Bound, portions: np.ndarray, k: int, families: int) -> np.ndarray:
    """The method's answer as int64 [F], or the error that says what is wrong with it."""
    name = bound.method.name
    portions = np.asarray(portions)
    if portions.shape != (families,) or portions.dtype.kind not in "iu":
        raise MethodError(
            f"disperse method {name!r} returned {portions.dtype} {portions.shape}, not integers ({families},)"
        )
    if portions.min() < 0 or portions.max() >= k:
        raise MethodError(f"disperse method {name!r} returned portions outside 0..{k - 1}")
    empty = np.flatnonzero(np.bincount(portions, minlength=k) == 0)
    if len(empty):
        raise DataError(
            f"method {name!r} left {_listed(empty)} of {k} without a row",
            where="disperse",
            mend="Lower k, or use a balanced method ('random', or 'kmeans' with `balanced: true`)",
        )
    return portions.astype(np.int64)


def _listed(empty: np.ndarray) -> str:
    return f"portion{'s' if len(empty) > 1 else ''} {', '.join(map(str, empty))}"
