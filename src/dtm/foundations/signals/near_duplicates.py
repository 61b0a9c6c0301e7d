"""Rows that say nearly the same: MinHash with banding, each candidate pair checked by its exact resemblance.

Broder 1997, "On the resemblance and containment of documents": the share of hash functions under which two sets
have the same minimum is their Jaccard similarity. Banding: Leskovec, Rajaraman, Ullman, "Mining of Massive
Datasets", 3.4; with 16 bands of 4 a pair of similarity s is a candidate with probability 1 - (1 - s^4)^16:
0.988 at 0.7, 0.9998 at 0.8.

Rows that share a band are sorted by the next band as well and compared with their neighbours and the band's
first, so that work is linear in the rows however many share it. Memory is 256 bytes a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dtm.foundations.blocks import blocks, over_blocks, threads
from dtm.foundations.signals.shingles import mixed, words
from dtm.foundations.signals.text import BATCH, at

WORDS = 3  # in a row: a row is the set of these
THRESHOLD = 0.7  # of the Jaccard similarity, at and above which two rows are near-duplicates
BANDS, EACH = 16, 4
DOUBT = 0.2  # below the threshold by more, an estimate (standard error 0.06) spares the exact comparison
PAIRS = 1 << 13  # compared at a time
CHUNK = 1 << 15  # hashes worked on at a time: they stay in the processor's cache


def near_duplicates(said_N: Sequence[str], *, threshold: float = THRESHOLD) -> np.ndarray:
    """The group of each row, int64 [N], by first appearance; -1 for a row that is like no other.

    A group is what pairs of near-duplicates connect: its ends may differ by more. Rows without a word are like no
    other. `said_N` may be `Texts`, of which a batch is in memory at a time.
    """
    signatures_NP, spoken_N = signatures(said_N)
    group_N = np.arange(len(said_N))
    bands = [_band(signatures_NP, number) for number in range(BANDS)]
    tried = np.zeros(0, np.uint64)
    for number, key_N in enumerate(bands):
        pairs = _candidates(key_N, bands[(number + 1) % BANDS], spoken_N)
        pairs = pairs[group_N[pairs[:, 0]] != group_N[pairs[:, 1]]]
        codes = np.setdiff1d(
            pairs[:, 0].astype(np.uint64) << np.uint64(32) | pairs[:, 1].astype(np.uint64), tried
        )
        pairs = np.column_stack([codes >> np.uint64(32), codes & np.uint64(0xFFFFFFFF)]).astype(np.int64)
        likely = estimated(signatures_NP, pairs) >= threshold - DOUBT
        alike = resemblance(said_N, pairs[likely]) >= threshold
        tried = np.union1d(tried, codes[likely])
        group_N = _joined(group_N, pairs[likely][alike])
    return _numbered(group_N)


def signatures(said_N: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The minima of each row's runs of words under BANDS x EACH hash functions, uint32 [N, P]; and which rows
    have a word, bool [N]."""
    functions = np.random.default_rng(0)  # fixed: the same rows have the same signature in every run
    salts = functions.integers(1 << 32, size=BANDS * EACH, dtype=np.uint32)
    factors = functions.integers(1 << 32, size=BANDS * EACH, dtype=np.uint32) | np.uint32(1)
    signatures_NP = np.full((len(said_N), BANDS * EACH), np.iinfo(np.uint32).max, np.uint32)
    spoken_N = np.zeros(len(said_N), bool)

    def fill(rows: slice) -> None:
        said = words(said_N[rows])
        spoken_N[rows] = said.counts_N > 0
        hashes_R, text_R = said.runs(WORDS, whole=True)
        for low in range(0, len(hashes_R), CHUNK):
            part_C, row_C = hashes_R[low : low + CHUNK].astype(np.uint32), text_R[low : low + CHUNK]
            firsts, hashed_C = np.flatnonzero(np.diff(row_C, prepend=-1)), np.empty_like(part_C)
            here = row_C[firsts] + rows.start
            for number, (salt, factor) in enumerate(zip(salts, factors, strict=True)):
                np.multiply(np.bitwise_xor(part_C, salt, out=hashed_C), factor, out=hashed_C)
                least = np.minimum.reduceat(hashed_C, firsts)
                signatures_NP[here, number] = np.minimum(signatures_NP[here, number], least)

    with threads() as count:
        for _ in over_blocks(fill, blocks(len(said_N), BATCH), count):
            pass
    return signatures_NP, spoken_N


def estimated(signatures_NP: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The similarity of each pair of rows as their signatures show it, float64 [P]."""
    found = np.empty(len(pairs))
    for low in range(0, len(pairs), CHUNK):
        one, other = pairs[low : low + CHUNK].T
        found[low : low + CHUNK] = (signatures_NP[one] == signatures_NP[other]).mean(axis=1)
    return found


def resemblance(said_N: Sequence[str], pairs: np.ndarray) -> np.ndarray:
    """The exact Jaccard similarity of each pair's sets of runs of words, float64 [P]."""
    found = [np.zeros(0)]
    for low in range(0, len(pairs), PAIRS):
        rows, sides = np.unique(pairs[low : low + PAIRS], return_inverse=True)
        hashes_R, text_R = words(at(said_N, rows)).runs(WORDS, whole=True)
        text_R, hashes_R = _distinct(text_R, hashes_R)
        size_T = np.bincount(text_R, minlength=len(rows))
        start_T = np.cumsum(size_T) - size_T
        side = sides.reshape(-1)  # both rows of each pair, one behind the other
        size_S = size_T[side]
        place = np.arange(size_S.sum()) - np.repeat(np.cumsum(size_S) - size_S - start_T[side], size_S)
        pair = np.repeat(np.arange(len(side)) // 2, size_S)
        either = np.bincount(_distinct(pair, hashes_R[place])[0], minlength=len(side) // 2)
        found.append((size_S.reshape(-1, 2).sum(axis=1) - either) / either)
    return np.concatenate(found)


def _distinct(set_R: np.ndarray, hash_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each different hash of each set once. One number holds both, for numbers sort much faster than pairs: the
    set, and of the hash the bits that are left, which are 50 or more."""
    bits = np.uint64(64 - int(set_R.max(initial=1)).bit_length())
    code = np.sort(set_R.astype(np.uint64) << bits | hash_R >> np.uint64(64) - bits)
    code = code[np.append(True, code[1:] != code[:-1])[: len(code)]]
    return (code >> bits).astype(np.int64), code << np.uint64(64) - bits


def _band(signatures_NP: np.ndarray, number: int) -> np.ndarray:
    """One number a row for a band: rows whose minima are equal there have the same."""
    key_N = np.zeros(len(signatures_NP), np.uint64)
    for column in range(number * EACH, (number + 1) * EACH):
        key_N = mixed(key_N ^ signatures_NP[:, column])
    return key_N


def _candidates(key_N: np.ndarray, next_N: np.ndarray, spoken_N: np.ndarray) -> np.ndarray:
    """Pairs (smaller, larger) of rows in one bucket [P, 2]: neighbours, and each with the bucket's first."""
    rows = np.flatnonzero(spoken_N)
    rows = rows[np.lexsort((rows, next_N[rows], key_N[rows]))]
    same = np.append(False, np.diff(key_N[rows]) == 0)[: len(rows)]
    first = np.maximum.accumulate(np.where(same, 0, np.arange(len(rows))))
    later = np.flatnonzero(same)
    chain = np.column_stack([rows[later - 1], rows[later]])
    star = np.column_stack([rows[first[later]], rows[later]])
    return np.sort(np.concatenate([chain, star]), axis=1)


def _joined(group_N: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The groups after these pairs were put together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return group_N
    ends = group_N[pairs]
    edges = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), (len(group_N),) * 2)
    return connected_components(edges.tocsr(), directed=False)[1].astype(np.int64)[group_N]


def _numbered(group_N: np.ndarray) -> np.ndarray:
    """Groups of several rows counted from 0 by first appearance, all other rows -1."""
    _, first, which_N, size = np.unique(group_N, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first, kind="stable")
    order = order[size[order] > 1]
    number = np.full(len(first), -1)
    number[order] = np.arange(len(order))
    return number[which_N]
