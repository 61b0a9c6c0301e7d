"""Growing: known rows stay in their portions, new rows join one by the method's rule or form portions of their own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dtm.disperse.joining import smallest
from dtm.disperse.portions import assign, needs_of, units
from dtm.foundations.errors import DataError, MethodError
from dtm.foundations.registry import Bound
from dtm.foundations.types import Examples


def grow(
    bound: Bound,
    examples: Examples,
    before_N: np.ndarray,
    seed: int,
    signals: Mapping[str, np.ndarray] | None = None,
    *,
    fresh: int = 0,
) -> np.ndarray:
    """The portion of every row, int64 [N]; `before_N` has that of known rows, in [0, k), and -1 for new ones.

    The new rows form `fresh` portions by the method itself, numbered from k; with none they join the k by its
    `join` rule, or else all go to the smallest. A new row of a known family follows it.

    Raises DataError where a family stands in two portions, a portion before k has no row, or there are fewer
    new families than fresh portions.
    """
    first_F, family_N = units(examples)
    before_F = _of_families(before_N, family_N, examples)
    k = before_F.max(initial=-1) + 1
    if k == 0 or (np.bincount(before_F[before_F >= 0], minlength=k) == 0).any():
        raise DataError("a portion that is to be kept has no row left", where="disperse.keep")
    new_N = before_F[family_N] < 0
    portions_N = before_F[family_N]
    if fresh:
        rows = np.flatnonzero(new_N)
        if not len(rows):
            raise DataError(
                "there is no new row for a new portion", where="disperse.new", mend="Set it to join"
            )
        own = {name: signal[rows] for name, signal in (signals or {}).items()}
        portions_N[rows] = k + assign(bound, examples.take(rows), fresh, seed, own)
    elif new_N.any():
        portions_N = _joined(bound, examples, before_F, k, first_F, family_N, signals or {})[family_N]
    return portions_N


def _joined(
    bound: Bound,
    examples: Examples,
    before_F: np.ndarray,
    k: int,
    first_F: np.ndarray,
    family_N: np.ndarray,
    signals: Mapping[str, np.ndarray],
) -> np.ndarray:
    """The portion of every family by the method's rule; known ones keep theirs, whatever it says."""
    rule = bound.method.properties.get("join", smallest)
    needs = {"rows": np.bincount(family_N), **needs_of(bound, examples, first_F, family_N, signals)}
    representatives = examples.take(first_F)
    after_F = np.asarray(rule(representatives, before_F, k, **needs, **bound.settings))
    new_F = before_F < 0
    if after_F.shape != before_F.shape or after_F[new_F].min() < 0 or after_F[new_F].max() >= k:
        raise MethodError(f"the rule by which rows join {bound.method.name!r} left the portions 0..{k - 1}")
    return np.where(new_F, after_F, before_F)


def _of_families(before_N: np.ndarray, family_N: np.ndarray, examples: Examples) -> np.ndarray:
    """The portion of each family's known rows, int64 [F], or -1. Raises DataError where they stand in two."""
    known = np.flatnonzero(before_N >= 0)
    before_F = np.full(family_N.max(initial=-1) + 1, -1, np.int64)
    before_F[family_N[known]] = before_N[known]
    torn = known[before_F[family_N[known]] != before_N[known]]
    if len(torn):
        row = int(torn[0])
        raise DataError(
            f"the family {examples.take([row]).column('family')[0]} stands in the portions {before_N[row]} and "
            f"{before_F[family_N[row]]}",
            where="disperse.keep", mend="A row, its repeats and what was made from it belong together",
        )  # fmt: skip
    return before_F
