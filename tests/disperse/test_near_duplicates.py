"""Near-duplicates against comparing all rows with all, in plain Python."""

from __future__ import annotations

import random

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from dtm.foundations.signals import near_duplicates as module
from dtm.foundations.signals.near_duplicates import (
    THRESHOLD,
    WORDS,
    estimated,
    near_duplicates,
    resemblance,
    signatures,
)
from dtm.foundations.signals.text import Texts

VOCABULARY = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrs"]


def shingles(text):
    said = text.split()
    if len(said) < WORDS:
        return {tuple(said)} if said else set()
    return {tuple(said[i : i + WORDS]) for i in range(len(said) - WORDS + 1)}


def jaccard(one, other):
    return len(one & other) / len(one | other) if one | other else 0.0


def text_of(row):
    return f"{row['instruction']} {row['response']}"


@pytest.fixture(scope="module")
def mixture():
    """Some 230 rows: many alone, and families of variants with some words changed."""
    chance = random.Random(0)
    rows = []
    for _ in range(70):
        said = chance.choices(VOCABULARY, k=chance.randint(1, 60))
        for _ in range(chance.choice([1, 1, 3, 8])):
            changed = [word if chance.random() > 0.03 else chance.choice(VOCABULARY) for word in said]
            cut = chance.randint(0, len(changed))
            rows.append({"instruction": " ".join(changed[:cut]), "response": " ".join(changed[cut:])})
    chance.shuffle(rows)
    return rows


def test_groups_are_those_of_comparing_all_with_all(mixture, make_examples):
    said = [shingles(text_of(row)) for row in mixture]
    group = list(range(len(said)))
    for one in range(len(said)):
        for other in range(one):
            if group[one] != group[other] and jaccard(said[one], said[other]) >= THRESHOLD:
                old, new = group[one], group[other]
                group = [new if number == old else number for number in group]
    found = near_duplicates(Texts(make_examples(mixture), "both"))
    together = [[a == b for b in group] for a in group]
    ours = [[(a == b != -1) or i == j for j, b in enumerate(found)] for i, a in enumerate(found)]
    assert np.array_equal(together, ours)
    assert 15 < len(set(found.tolist()) - {-1}) < 60
    firsts = [found.tolist().index(number) for number in range(found.max() + 1)]
    assert firsts == sorted(firsts)


def test_resemblance_is_exact_and_the_estimate_is_near_it(mixture, make_examples):
    examples = Texts(make_examples(mixture), "both")
    chance = random.Random(1)
    pairs = np.array([sorted(chance.sample(range(len(mixture)), 2)) for _ in range(2000)])
    said = [shingles(text_of(row)) for row in mixture]
    expected = [jaccard(said[one], said[other]) for one, other in pairs]
    assert resemblance(examples, pairs) == pytest.approx(expected, abs=1e-12)
    off = estimated(signatures(examples)[0], pairs) - expected
    assert abs(off.mean()) < 0.01
    assert abs(off).max() < 5.5 * 0.5 / 64**0.5


def test_one_word_of_a_long_row_makes_a_near_duplicate_and_another_subject_none(make_examples):
    base = " ".join(VOCABULARY[:40])
    rows = [{"instruction": base}, {"instruction": " ".join(VOCABULARY[50:90])},
            {"instruction": base.replace(VOCABULARY[7], "other").upper() + "!"}]  # fmt: skip
    assert near_duplicates(Texts(make_examples(rows), "both")).tolist() == [0, -1, 0]


def test_rows_without_a_word_and_short_rows(make_examples):
    rows = [{"instruction": one, "response": ""} for one in ("", "?!", "yes", "Yes.", "no", "")]
    assert near_duplicates(Texts(make_examples(rows), "both")).tolist() == [-1, -1, 0, 0, -1, -1]
    assert near_duplicates(Texts(make_examples([]), "both")).tolist() == []
    assert near_duplicates(Texts(make_examples(rows[:1]), "both")).tolist() == [-1]


def test_a_bucket_of_equal_rows_is_one_group_and_takes_no_square_of_time(make_examples):
    rows = [{"instruction": "the very same words again and again"}] * 6000
    assert set(near_duplicates(Texts(make_examples(rows), "both")).tolist()) == {0}


def test_the_order_of_the_rows_changes_numbers_only(mixture, make_examples):
    found = near_duplicates(Texts(make_examples(mixture), "both"))
    order = np.random.default_rng(3).permutation(len(mixture))
    again = near_duplicates(Texts(make_examples([mixture[row] for row in order]), "both"))
    back = np.empty_like(again)
    back[order] = again
    assert np.array_equal(found[:, None] == found, back[:, None] == back)


def test_neither_threads_nor_blocks_change_a_signature(mixture, make_examples, monkeypatch):
    said = Texts(make_examples(mixture), "both")
    whole = signatures(said)
    for batch, chunk, threads in ((7, 50, 3), (64, 1 << 15, 1)):
        monkeypatch.setattr(module, "BATCH", batch)
        monkeypatch.setattr(module, "CHUNK", chunk)
        with threadpool_limits(threads, user_api="blas"):
            again = signatures(said)
        assert all((one == other).all() for one, other in zip(whole, again, strict=True))
