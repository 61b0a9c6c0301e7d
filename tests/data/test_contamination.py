"""Overlaps with benchmarks against sets of tuples of words in plain Python."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.data.contamination import COMMON, SHORTEST, overlaps
from dtm.foundations.types import SCHEMA, Examples


def examples(*rows):
    """Rows of (question, answer)."""
    listed = []
    for number, (asked, answered) in enumerate(rows):
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        listed.append({"id": str(number), "source": "s", "messages": messages, "parent": None,
                       "family": str(number), "meta": "{}"})  # fmt: skip
    return Examples(pa.Table.from_pylist(listed, schema=SCHEMA))


def brute_force(rows, benchmarks, ngram):
    """{(row, benchmark, item)} by comparing every row with every item."""
    found = set()
    for number, items in enumerate(benchmarks.values()):
        runs = [_runs(item.split(), ngram) for item in items]
        common = Counter(run for one in runs for run in one)
        for item, one in enumerate(runs):
            wanted = {run for run in one if common[run] <= COMMON}
            for row, (asked, answered) in enumerate(rows):
                said = [*asked.split(), *answered.split()]
                lengths = {len(run) for run in wanted}
                if wanted & {run for length in lengths for run in _runs(said, length, short=False)}:
                    found.add((row, number, item))
    return found


def _runs(said, length, *, short=True):
    if short and len(said) < length:
        return {tuple(said)} if len(said) >= SHORTEST else set()
    return {tuple(said[i : i + length]) for i in range(len(said) - length + 1)}


def each(benchmarks):
    """Every item known by one text."""
    return {name: [[item] for item in items] for name, items in benchmarks.items()}


SAID = st.lists(st.sampled_from("abc"), max_size=14).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SAID, SAID), max_size=8), st.lists(SAID, max_size=8), st.lists(SAID, max_size=3),
       st.integers(5, 9))  # fmt: skip
def test_it_finds_what_comparing_all_with_all_does(rows, some, others, ngram):
    benchmarks = {"some": some, "others": others}
    found = overlaps(examples(*rows), each(benchmarks), ngram=ngram)
    assert {tuple(pair) for pair in found.pairs.tolist()} == brute_force(rows, benchmarks, ngram)
    assert found.pairs.tolist() == sorted(found.pairs.tolist())
    assert found.compared == [
        sum(len(item.split()) >= SHORTEST for item in items) for items in benchmarks.values()
    ]


ITEM = "A train leaves the old station at noon and arrives in the city two hours late."


def test_thirteen_words_in_a_row_are_an_overlap_and_twelve_are_none():
    said = ITEM.rstrip(".").split()
    rows = [("It said: " + " ".join(said[:13]).upper() + "!", "Why?"), (" ".join(said[:12]), "so"),
            ("He wrote " + " ".join(said[:6]), ", ".join(said[6:13]) + " ...")]  # fmt: skip
    assert overlaps(examples(*rows), {"trains": [[ITEM]]}).pairs.tolist() == [[0, 0, 0], [2, 0, 0]]


def test_a_short_item_overlaps_where_all_of_it_is_said():
    rows = [
        ("Tell me: who wrote the book Dracula?", "Stoker"),
        ("Who wrote this book?", "Dracula who wrote it"),
    ]
    found = overlaps(examples(*rows), {"books": [["Who wrote the book Dracula"], ["Who wrote it?"]]})
    assert found.pairs.tolist() == [[0, 0, 0]]
    assert found.compared == [1]


def test_an_item_may_be_known_by_several_texts_and_is_counted_once():
    texts = ["Who wrote the book Dracula", "Who wrote the book Dracula Bram Stoker"]
    rows = [("Who wrote the book Dracula?", "Bram Stoker."), ("Who wrote the book Dracula?", "I forgot.")]
    found = overlaps(examples(*rows), {"books": [["none"], texts]})
    assert found.pairs.tolist() == [[0, 0, 1], [1, 0, 1]]
    assert found.compared == [1]


def test_what_many_items_share_is_phrasing_and_counts_for_none():
    phrase = "choose the best of the answers below and give only its letter in one line"
    items = [f"{phrase} {'abcdefghijklmnop'[n] * 4} or {'xyz'[n % 3] * 3}" for n in range(COMMON + 1)]
    rows = [(phrase, "A"), (items[3], "B")]
    assert overlaps(examples(*rows), each({"few": items[:COMMON]})).pairs[:, 0].tolist().count(0) == COMMON
    assert set(overlaps(examples(*rows), each({"many": items})).pairs[:, 0].tolist()) == {1}


def test_many_rows_are_read_in_batches_and_progress_ends_with_all():
    rows = [(ITEM if number % 1000 == 7 else f"row {number} of no interest to anybody", "fine")
            for number in range(4500)]  # fmt: skip
    heard = []
    found = overlaps(examples(*rows), {"trains": [[ITEM]]}, progress=lambda *done: heard.append(done))
    assert found.pairs[:, 0].tolist() == [7, 1007, 2007, 3007, 4007]
    assert heard[-1] == (4500, 4500)


@pytest.mark.parametrize("benchmarks", [{}, {"empty": []}, {"blank": [[""], ["?!", ""], []]}])
def test_nothing_to_look_for_is_found_nowhere(benchmarks):
    found = overlaps(examples(("a b c d e f", "g")), benchmarks)
    assert found.pairs.shape == (0, 3)
    assert found.compared == [0] * len(benchmarks)
    assert found.pairs.dtype == np.int64
