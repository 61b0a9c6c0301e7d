"""Rows that several portions hold: copies near their borders (`overlap`), and rows that all replay (`replay`).

Both come after the method, or before it: replayed rows are taken out of what it disperses, and copies are added to what
it answered. Families stay whole in either.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from dtm.disperse.portions import units
from dtm.disperse.sphere import centres_of, similarities, threads, unit_rows
from dtm.foundations.errors import DataError
from dtm.foundations.seeds import derive
from dtm.foundations.types import Examples

NOWHERE = -1


def no_copies() -> np.ndarray:
    return np.zeros((0, 2), np.int64)


@dataclass(frozen=True)
class Split:
    """Which rows each of k portions trains on.

    `own_N` int64 [N] is the portion that the method gave a row, or -1: it is replayed, in every portion. `copies`
    int64 [E, 2] are pairs of a row and another portion that has it as well, sorted, each once.
    """

    own_N: np.ndarray
    k: int
    copies: np.ndarray = field(default_factory=no_copies)

    @property
    def shared(self) -> bool:
        """Whether any row stands in several portions."""
        return len(self.copies) > 0 or bool((self.own_N == NOWHERE).any())

    def rows(self, portion: int) -> np.ndarray:
        """All rows of a portion, ascending."""
        mine = (self.own_N == portion) | (self.own_N == NOWHERE)
        mine[self.copied(portion)] = True
        return np.flatnonzero(mine)

    def copied(self, portion: int) -> np.ndarray:
        """Rows of other portions that it has as well, ascending."""
        return self.copies[self.copies[:, 1] == portion, 0]

    @property
    def dispersed(self) -> np.ndarray:
        """Rows that have a portion of their own, ascending."""
        return np.flatnonzero(self.own_N != NOWHERE)


def replayed(
    examples: Examples, sources: Collection[str], seed: int, *, fraction: float | None = None, rows: int | None = None
) -> np.ndarray:  # fmt: skip
    """Which rows every portion is to train on, bool [N]: families whose first row is of `sources` (of any, if none is
    named), drawn by the seed until their rows number `rows`, or that `fraction` of all theirs; neither: all of them.

    A family that does not fit any more is passed over, so that never more are taken and no other would fit.
    Raises DataError where there is none to take, or where none would be left to disperse.
    """
    first_F, family_N = units(examples)
    size_F = np.bincount(family_N, minlength=len(first_F))
    source_F = np.asarray(examples.table.column("source").take(first_F).to_pylist(), dtype=str)
    listed = np.flatnonzero(np.isin(source_F, sorted(sources))) if sources else np.arange(len(first_F))
    there = int(size_F[listed].sum())
    room = rows if rows is not None else there if fraction is None else round(fraction * there)
    order = np.random.default_rng(derive(seed, "replay")).permutation(listed)
    taken_F = np.zeros(len(first_F), bool)
    taken_F[order[fitting(size_F[order], room)]] = True
    if not taken_F.any():
        of = f" of {', '.join(sorted(sources))}" if sources else ""
        raise DataError(f"no row is replayed: there are {there:,}{of}", where="disperse.replay",
                        mend="Raise `rows` or `fraction`, or name other sources")  # fmt: skip
    if taken_F.all():
        raise DataError("every row would be replayed, and none is left to disperse", where="disperse.replay",
                        mend="Name fewer sources, or a lower `fraction` or `rows`")  # fmt: skip
    return taken_F[family_N]


def copied(
    examples: Examples,
    own_N: np.ndarray,
    k: int,
    overlap: float,
    seed: int,
    *,
    embedding: np.ndarray | None = None,
    kept: np.ndarray | None = None,
    new_N: np.ndarray | None = None,
    changed_K: np.ndarray | None = None,
) -> np.ndarray:
    """Pairs of a row and another portion that is to have it as well, int64 [E, 2], sorted.

    Each portion takes families of others, replayed ones aside, until the rows so taken number `overlap` of its own
    rows: with an `embedding` [N, D] those nearest to the centre of its own families, else such as `seed` draws. A
    family that does not fit any more is passed over; where the others have too few, it takes them all.

    `kept` pairs stay, whatever `overlap` says, and new rows of a kept family follow it. A portion that is not among
    `changed_K` takes none of the families that are all `new_N`, so that its rows stay as they are.
    """
    first_F, family_N = units(examples)
    own_F, size_F = own_N[first_F], np.bincount(family_N, minlength=len(first_F))
    new_F = np.zeros(len(first_F), bool)
    if new_N is not None:
        known_F = np.zeros(len(first_F), bool)
        known_F[family_N[~new_N]] = True
        new_F = ~known_F
    had = no_copies() if kept is None else kept
    held = [np.unique(family_N[had[had[:, 1] == portion, 0]]) for portion in range(k)]
    near = _nearness(embedding, first_F, own_F, k) if overlap and embedding is not None else None
    taken = []
    for portion in range(k):
        more = held[portion][own_F[held[portion]] != portion]
        room = round(overlap * int(size_F[own_F == portion].sum())) - int(size_F[more].sum())
        free_F = (own_F != portion) & (own_F != NOWHERE)
        free_F[more] = False
        if changed_K is not None and not changed_K[portion]:
            free_F &= ~new_F
        free = np.flatnonzero(free_F) if room > 0 else np.zeros(0, np.int64)
        if near is None:
            free = np.random.default_rng(derive(seed, "overlap", portion)).permutation(free)
        else:
            free = free[np.argsort(-near[free, portion], kind="stable")]
        taken.append(np.concatenate([more, free[fitting(size_F[free], room)]]))
    return _pairs(taken, family_N, len(first_F))


def fitting(size_C: np.ndarray, room: int) -> np.ndarray:
    """Places [.] in a queue of whole families that are taken in turn, each if it fits into what is left of `room`."""
    taken, left = [np.zeros(0, np.int64)], np.arange(len(size_C))
    while len(left := left[size_C[left] <= room]):
        reached = np.cumsum(size_C[left])
        fits = int(np.searchsorted(reached, room, side="right"))
        taken.append(left[:fits])
        room -= int(reached[fits - 1])
        left = left[fits:]
    return np.concatenate(taken)


def _nearness(embedding_ND: np.ndarray, first_F: np.ndarray, own_F: np.ndarray, k: int) -> np.ndarray:
    """Cosines of each family to the centre of each portion's own families, float32 [F, K]; -2 for what embeds to
    nothing."""
    whole = len(first_F) == len(embedding_ND)
    points_FD, zero_F = unit_rows(embedding_ND if whole else embedding_ND[first_F])
    with threads() as count:
        centres_KD = centres_of(points_FD, own_F, k)
        near_FK = similarities(points_FD, centres_KD, count)
    near_FK[zero_F] = -2
    return near_FK


def _pairs(taken_K: list[np.ndarray], family_N: np.ndarray, families: int) -> np.ndarray:
    """Pairs of rows and portions, sorted, from the families that each portion takes."""
    found = [no_copies()]
    for portion, taken in enumerate(taken_K):
        has_F = np.zeros(families, bool)
        has_F[taken] = True
        rows = np.flatnonzero(has_F[family_N])
        found.append(np.column_stack([rows, np.full(len(rows), portion)]))
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
