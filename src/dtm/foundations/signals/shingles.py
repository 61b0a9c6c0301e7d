"""Runs of words as 64-bit hashes: the same on every machine, a batch of texts at once, no object a word kept.

The hash of a run is polynomial, modulo 2**64, over its words' hashes, and a word's over its letters (Karp
and Rabin 1987): differences of running sums, so that a run of any length costs the same. A mixer (splitmix64)
spreads the bits. Two different runs share a hash about once in 2**64 pairs.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from dtm.foundations.blocks import blocks
from dtm.foundations.signals.text import BATCH, Side, texts
from dtm.foundations.types import Examples

IDEOGRAMS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
PART = 256  # texts whose letters are worked on at a time: they stay in the processor's cache
BASE = 0x9E3779B97F4A7C15  # odd, and so invertible
INVERSE = pow(BASE, -1, 1 << 64)
BETWEEN, WITHIN, ALONE = range(3)


@dataclass(frozen=True)
class Words:
    """The words of N texts, one behind the other: their hashes [W], and where each text's begin [N + 1]."""

    hashes_W: np.ndarray
    starts: np.ndarray

    @property
    def counts_N(self) -> np.ndarray:
        return np.diff(self.starts)

    def runs(self, length: int, *, whole: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of all runs of `length` words [R], and the text [R] that each is of.

        `whole`: a text of fewer words, but at least one, is a run by itself.
        """
        counts_N = self.counts_N
        runs_N = np.maximum(counts_N - length + 1, 0)
        if whole:
            runs_N = np.where((counts_N > 0) & (counts_N < length), 1, runs_N)
        text_R = np.repeat(np.arange(len(counts_N)), runs_N)
        before_N = np.cumsum(runs_N) - runs_N
        start_R = np.arange(len(text_R)) - before_N[text_R] + self.starts[:-1][text_R]
        return _spans(self.hashes_W, start_R, np.minimum(start_R + length, self.starts[1:][text_R])), text_R


def words(texts_N: Sequence[str], *, least: int = 1) -> Words:
    """The words of each text: letters and digits, without case or punctuation, compatibility forms made equal.

    Only words of `least` letters or more count; in Chinese and Japanese each character counts as a word.
    """
    parts = [_words(texts_N[rows], least) for rows in blocks(len(texts_N), PART)]
    hashes = [np.zeros(0, np.uint64), *(part.hashes_W for part in parts)]
    counts = [np.zeros(1, np.int64), *(part.counts_N for part in parts)]
    return Words(np.concatenate(hashes), np.cumsum(np.concatenate(counts)))


def _words(texts: Sequence[str], least: int) -> Words:
    """All letters of the texts at once, as numbers: no string a word."""
    said = [f"{_folded(text)}\n" for text in texts]
    letters = np.frombuffer("".join(said).encode("utf-32-le", "surrogatepass"), np.uint32)
    kind = kinds()[letters]
    before = np.append(np.uint8(BETWEEN), kind[:-1])
    parted = (kind != before) | (kind == ALONE)
    starts_W, ends_W = (
        np.flatnonzero(parted & (kind != BETWEEN)),
        np.flatnonzero(parted & (before != BETWEEN)),
    )
    if least > 1:
        long_W = (ends_W - starts_W >= least) | (kind[starts_W] == ALONE)
        starts_W, ends_W = starts_W[long_W], ends_W[long_W]
    starts = np.searchsorted(starts_W, np.cumsum([0, *map(len, said)]))
    return Words(_spans(letters.astype(np.uint64), starts_W, ends_W), starts)


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


@cache
def kinds() -> np.ndarray:
    """Of each character whether it is BETWEEN words, WITHIN one, or a word ALONE.

    Letters, digits and the underscore are within words, as are marks, with which the scripts of India, Thailand
    and others write vowels; variation selectors, which follow pictures, are not.
    """
    table = np.full(sys.maxunicode + 1, BETWEEN, np.uint8)
    for number, character in enumerate(map(chr, range(sys.maxunicode + 1))):
        if character.isalnum() or unicodedata.category(character) in ("Mn", "Mc"):
            table[number] = WITHIN
    for low, high in ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF)):
        table[low : high + 1] = BETWEEN
    table[ord("_")] = WITHIN
    for low, high in re.findall("(.)-(.)", IDEOGRAMS):
        table[ord(low) : ord(high) + 1] = ALONE
    return table


def pattern(least: int) -> str:
    """A regular expression for the words of a text in lower case, for who needs the words themselves."""
    edges = np.flatnonzero(np.diff(kinds() == WITHIN, prepend=False, append=False)).reshape(-1, 2)
    within = "".join(f"\\U{low:08x}-\\U{high - 1:08x}" for low, high in edges)
    return f"[{IDEOGRAMS}]|[{within}]{{{least},}}"


def batches(examples_N: Examples, on: Side, size: int = BATCH) -> Iterator[tuple[int, Words]]:
    """The number of the first row of each batch of rows, and the words of their texts."""
    for start in range(0, len(examples_N), size):
        yield start, words(texts(Examples(examples_N.table.slice(start, size)), on))


def _spans(values_V: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The hash of each span of values, uint64: that of equal spans is equal wherever they stand."""
    sums = np.zeros(len(values_V) + 1, np.uint64)
    np.cumsum((values_V + np.uint64(1)) * _powers(BASE, len(values_V)), out=sums[1:])
    if not len(starts):
        return np.zeros(0, np.uint64)
    return mixed((sums[ends] - sums[starts]) * _powers(INVERSE, len(values_V))[starts])


def _powers(base: int, count: int) -> np.ndarray:
    powers = np.full(count, base, np.uint64)
    powers[:1] = 1
    return np.multiply.accumulate(powers, out=powers)


def mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014), one to one on 64 bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
