import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.disperse import assign
from dtm.disperse.stratified import stratified
from dtm.foundations.errors import DataError
from dtm.foundations.registry import registry


class Sources:
    """The one column that the method reads."""

    def __init__(self, names):
        self.names = names

    def __len__(self):
        return len(self.names)

    def column(self, name):
        assert name == "source"
        return self.names


counts = st.lists(st.integers(1, 25), min_size=1, max_size=9)


@given(counts, st.integers(1, 7), st.integers(0, 2**63))
def test_quotas_are_the_largest_remainders_of_every_source_and_of_all(counts, k, seed):
    """Each source's share of a portion is its exact share, rounded down or up; so is the portion's size."""
    names = np.repeat([f"s{n}" for n in range(len(counts))], counts)
    portions = stratified(Sources(np.random.default_rng(seed).permutation(names).tolist()), k, seed)
    assert np.ptp(np.bincount(portions, minlength=k)) <= 1
    names = np.random.default_rng(seed).permutation(names)
    for number, count in enumerate(counts):
        sizes = np.bincount(portions[names == f"s{number}"], minlength=k)
        assert set(sizes) <= {count // k, -(-count // k)}


@given(st.lists(st.integers(1, 40), min_size=4, max_size=80), st.integers(2, 5), st.integers(0, 2**63))
def test_of_one_source_rows_differ_by_no_more_than_the_largest_unit(sizes, k, seed):
    sizes = np.array(sizes)
    portions = stratified(Sources(["a"] * len(sizes)), k, seed, rows=sizes)
    assert np.ptp(np.bincount(portions, minlength=k)) <= 1
    assert np.ptp(np.bincount(portions, weights=sizes, minlength=k)) <= sizes.max()


def test_every_row_is_as_likely_in_every_portion():
    """Chi-square over 2,000 seeds of 10 rows in 2 sources, 3 portions; 20 degrees of freedom."""
    counts = np.zeros((10, 3))
    for seed in range(2000):
        counts[np.arange(10), stratified(Sources(["a"] * 7 + ["b"] * 3), 3, seed)] += 1
    assert ((counts - 2000 / 3) ** 2 / (2000 / 3)).sum() < 70  # p < 1e-6


def test_fields_and_combinations(make_examples):
    rows = [
        {"source": "ab"[n % 2], "meta": json.dumps({"kind": {"of": n // 2 % 3}, "score": n})}
        for n in range(36)
    ]
    examples = make_examples(rows, tokens=[(n + 2, 1) for n in range(36)])

    def sizes(by, column, **settings):
        bound = registry("disperse").bind("stratified", {"by": by, **settings})
        portions = assign(bound, examples, 3, 1)
        return [np.bincount(portions[column == one], minlength=3).tolist() for one in np.unique(column)]

    number = np.arange(36)
    assert sizes(["source", "kind.of"], number % 6) == [[2, 2, 2]] * 6
    assert sizes("length", number // 9, lengths=4) == [[3, 3, 3]] * 4
    assert sizes("score", number // 12, lengths=3) == [[4, 4, 4]] * 3  # numbers of many kinds come in bands


@pytest.mark.parametrize(("settings", "message"), [
    ({"by": "level"}, r"disperse\.by: 2 of 3 rows have no field 'level', the first is 1\. There is: level"),
    ({"by": "length"}, "not rendered"),
])  # fmt: skip
def test_what_the_rows_do_not_have_is_an_error(make_examples, settings, message):
    examples = make_examples([{"meta": '{"level": 3}'}, {}, {"meta": '{"level": null}'}])
    with pytest.raises(DataError, match=message):
        assign(registry("disperse").bind("stratified", settings), examples, 2, 0)
