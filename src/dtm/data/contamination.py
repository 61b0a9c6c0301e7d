"""Which rows say what a benchmark asks: runs of words that a row and an item share.

Brown et al. 2020, "Language Models are Few-Shot Learners" (arXiv:2005.14165, appendix C): a row and an item that
have 13 words in a row in common, without case and punctuation, overlap, and runs of words that stand in more
than ten places are phrasing. Ours: an item of fewer words, but at least SHORTEST, overlaps with a row that holds
all of it; and a run is phrasing of its benchmark where more than COMMON of its items share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dtm.foundations.signals.shingles import Words, batches, words
from dtm.foundations.types import Examples

NGRAM = 13
SHORTEST = 5  # words: of fewer no row can be blamed
COMMON = 10  # items of a benchmark that share a run of words
SIEVE = 24  # bits of a hash by which most runs are found to be in no item

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Overlaps:
    """`pairs` int64 [P, 3] of (row, benchmark, item), sorted and each once; and, of each benchmark, how many
    items have words enough to be looked for."""

    pairs: np.ndarray
    compared: list[int]


@dataclass(frozen=True)
class _Known:
    """Runs of `length` words of items: hashes [R], sorted, and each one's benchmark and item [R, 2]."""

    length: int
    hashes_R: np.ndarray
    places_R2: np.ndarray
    sieve: np.ndarray

    def found_in(self, said: Words) -> Iterator[np.ndarray]:
        """(text, benchmark, item) of all shared runs, int64 [., 3]."""
        hashes, text = said.runs(self.length)
        likely = np.flatnonzero(self.sieve[_cell(hashes)])
        hashes, text = hashes[likely], text[likely]
        first = np.searchsorted(self.hashes_R, hashes, "left")
        counts = np.searchsorted(self.hashes_R, hashes, "right") - first
        place = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        yield np.column_stack([np.repeat(text, counts), self.places_R2[place]])


def overlaps(
    examples_N: Examples,
    benchmarks: Mapping[str, Sequence[Sequence[str]]],
    *,
    ngram: int = NGRAM,
    progress: Progress | None = None,
) -> Overlaps:
    """The items of each benchmark, each as the texts that it may be known by, that rows share `ngram` words in a
    row with.

    All turns of the user and the assistant count, one behind the other. Memory is that of the items' runs and of
    the pairs found.
    """
    said = [_Items.of(items) for items in benchmarks.values()]
    known = _known(said, ngram)
    found = [np.zeros((0, 3), np.int64)]
    for start, batch in batches(examples_N, "both"):
        for one in known:
            for pairs in one.found_in(batch):
                pairs[:, 0] += start
                found.append(np.unique(pairs, axis=0))
        if progress:
            progress(min(start + len(batch.counts_N), len(examples_N)), len(examples_N))
    compared = [len(np.unique(items.item_N[items.words.counts_N >= SHORTEST])) for items in said]
    return Overlaps(np.unique(np.concatenate(found), axis=0), compared)


@dataclass(frozen=True)
class _Items:
    """The words of a benchmark's texts, and the item [N] that each is of."""

    words: Words
    item_N: np.ndarray

    @classmethod
    def of(cls, items: Sequence[Sequence[str]]) -> _Items:
        texts = [text for item in items for text in item]
        return cls(words(texts), np.repeat(np.arange(len(items)), [len(item) for item in items]))


def _known(said: Sequence[_Items], ngram: int) -> list[_Known]:
    """The runs to look for, by their length: `ngram`, and the whole lengths of shorter items."""
    collected: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for benchmark, items in enumerate(said):
        counts_N = items.words.counts_N
        for length in (*np.unique(counts_N[(counts_N >= SHORTEST) & (counts_N < ngram)]).tolist(), ngram):
            hashes_R, text_R = items.words.runs(length)
            if length < ngram:
                whole_R = counts_N[text_R] == length
                hashes_R, text_R = hashes_R[whole_R], text_R[whole_R]
            hashes_R, item_R = _once(hashes_R, items.item_N[text_R])
            _, which_R, shared = np.unique(hashes_R, return_inverse=True, return_counts=True)
            rare_R = shared[which_R] <= COMMON
            places_R2 = np.column_stack([np.full(rare_R.sum(), benchmark), item_R[rare_R]])
            collected.setdefault(length, []).append((hashes_R[rare_R], places_R2))
    return [_sorted(length, parts) for length, parts in sorted(collected.items())]


def _once(hashes_R: np.ndarray, item_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pair of a hash and an item once."""
    order = np.lexsort((item_R, hashes_R))
    hashes_R, item_R = hashes_R[order], item_R[order]
    fresh = np.append(True, (np.diff(hashes_R) != 0) | (np.diff(item_R) != 0))[: len(item_R)]
    return hashes_R[fresh], item_R[fresh]


def _sorted(length: int, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> _Known:
    hashes_R = np.concatenate([hashes for hashes, _ in parts])
    order = np.argsort(hashes_R, kind="stable")
    sieve = np.zeros(1 << SIEVE, bool)
    sieve[_cell(hashes_R)] = True
    return _Known(length, hashes_R[order], np.concatenate([places for _, places in parts])[order], sieve)


def _cell(hashes: np.ndarray) -> np.ndarray:
    return hashes >> np.uint64(64 - SIEVE)
