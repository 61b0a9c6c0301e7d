"""Runs of words against slices of lists in plain Python."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.foundations.signals.shingles import batches, mixed, pattern, words

ALPHABET = st.sampled_from(["a", "b", "ab", "zu", "7", "été"])
TEXTS = st.lists(st.lists(ALPHABET, max_size=9), max_size=6)


def plain_runs(said, length, whole):
    """(text, run) of every run, as tuples of words."""
    for number, text in enumerate(said):
        if whole and 0 < len(text) < length:
            yield number, tuple(text)
        yield from ((number, tuple(text[i : i + length])) for i in range(len(text) - length + 1))


@settings(max_examples=40, deadline=None)
@given(TEXTS, st.integers(1, 6), st.booleans())
def test_runs_are_equal_where_words_are_and_only_there(said, length, whole):
    hashes, text = words([" ".join(one) for one in said]).runs(length, whole=whole)
    expected = list(plain_runs(said, length, whole))
    assert text.tolist() == [number for number, _ in expected]
    names = {}
    for run, code in zip((run for _, run in expected), hashes.tolist(), strict=True):
        assert names.setdefault(run, code) == code
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize(("one", "other"), [
    ("What's up, Doc?", "what s UP doc"), ("ﬁne Straße", "fine STRASSE"), ("３ + 5", "3 5"),
    ("東京は", "東 京 は"), ("caf\u00e9", "cafe\u0301"), ("a\n\n\tb", " a b "),
])  # fmt: skip
def test_case_punctuation_spaces_and_forms_of_letters_do_not_count(one, other):
    assert words([one]).hashes_W.tolist() == words([other]).hashes_W.tolist()
    assert len(words([one]).hashes_W) > 0


@pytest.mark.parametrize(
    ("one", "other"), [("3 + 5", "3 + 6"), ("ab c", "a bc"), ("été x", "ete x"), ("a b", "b a")]
)
def test_letters_digits_accents_and_order_do(one, other):
    assert words([one]).runs(2)[0].tolist() != words([other]).runs(2)[0].tolist()


def test_texts_without_words_have_no_runs():
    for said in ([], [""], ["", "?!", " "]):
        assert [len(part) for part in words(said).runs(1, whole=True)] == [0, 0]
    assert words(["", "a", ""]).counts_N.tolist() == [0, 1, 0]


def test_half_a_surrogate_pair_is_no_error():
    assert len(words(["so \ud83d what"]).hashes_W) == 2


def test_batches_of_any_size_give_the_same_words(many):
    whole = words([f"row {n} says {'so ' * (n % 7)}" for n in range(50)])
    for size in (1, 7, 50, 99):
        parts = [(start, found.hashes_W) for start, found in batches(many, "instruction", size)]
        assert [start for start, _ in parts] == list(range(0, 50, size))
        assert np.concatenate([part for _, part in parts]).tolist() == whole.hashes_W.tolist()


def test_hashes_do_not_depend_on_the_process():
    code = "from dtm.foundations.signals.shingles import words; print(words(['the same']).hashes_W.tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(words(["the same"]).hashes_W.tolist())


def test_the_mixer_is_splitmix64():
    """The first outputs of its reference implementation from seed 0, whose state counts up by the golden gamma."""
    gamma = 0x9E3779B97F4A7C15
    states = np.array([gamma * step % 2**64 for step in (1, 2, 3)], np.uint64)
    assert [f"{value:x}" for value in mixed(states)] == [
        "e220a8397b1dcdaf",
        "6e789e6aa1b965f4",
        "6c45d188009454f",
    ]


def test_no_two_of_many_numbers_meet_and_their_high_bits_are_spread():
    codes = words([" ".join(map(str, range(200_000)))]).hashes_W
    assert len(np.unique(codes)) == 200_000
    cells = np.bincount((codes >> np.uint64(56)).astype(int), minlength=256)
    assert abs(cells - 200_000 / 256).max() < 6 * (200_000 / 256) ** 0.5


@pytest.fixture
def many(talk):
    return talk(*([("user", f"row {n} says {'so ' * (n % 7)}")] for n in range(50)))


@pytest.mark.parametrize("least", [1, 2])
def test_words_are_those_that_the_pattern_finds(least):
    """Of all characters of the basic plane, each by itself and beside a letter."""
    everything = [chr(number) for number in range(0x10000) if not 0xD800 <= number < 0xE000]
    texts = [" ".join(everything), "a".join(everything)]
    folded = [unicodedata.normalize("NFKC", text).casefold() for text in texts]
    expected = [len(re.findall(pattern(least), text)) for text in folded]
    assert words(texts, least=least).counts_N.tolist() == expected


def test_marks_belong_to_their_words_and_pictures_to_none():
    texts = ["पानी घर", "บ้าน แม่", "❤\ufe0f love_me 2", "数学の a"]
    found = [re.findall(pattern(1), text) for text in texts]
    assert found == [["पानी", "घर"], ["บ้าน", "แม่"], ["love_me", "2"], ["数", "学", "の", "a"]]
    assert words(texts).counts_N.tolist() == [2, 2, 2, 4]
    assert words(texts, least=2).counts_N.tolist() == [2, 2, 1, 3]
