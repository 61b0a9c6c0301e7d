from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.disperse import assign
from dtm.disperse.by_source import by_source
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


@given(st.lists(st.integers(1, 20), min_size=2, max_size=6), st.integers(1, 3))
def test_sources_stay_whole_and_the_fullest_portion_is_near_the_best(counts, k):
    k = min(k, len(counts))
    names = [f"s{source}" for source, count in enumerate(counts) for _ in range(count)]
    portions = by_source(Sources(names), k, 0)
    assert len(set(zip(names, portions, strict=True))) == len(counts)
    ways = product(range(k), repeat=len(counts))
    best = min(np.bincount(way, weights=counts, minlength=k).max() for way in ways)
    assert np.bincount(portions, minlength=k).max() <= (4 / 3 - 1 / (3 * k)) * best
    assert set(portions) == set(range(k))


def test_tokens_or_rows_decide_what_is_large(make_examples):
    rows = [{"source": source} for source in "aaabbcc"]
    examples = make_examples(rows, tokens=[(n, 1) for n in (1, 1, 1, 50, 50, 2, 2)])

    def portions(**settings):
        return assign(registry("disperse").bind("by_source", settings), examples, 2, 0).tolist()

    assert portions() == [0, 0, 0, 1, 1, 1, 1]
    assert portions(balance="tokens") == [1, 1, 1, 0, 0, 1, 1]


def test_repeats_of_a_row_count(make_examples):
    rows = [{"source": "a", "family": "x"}] * 5 + [{"source": "b"}] * 2 + [{"source": "c"}] * 2
    portions = assign(registry("disperse").bind("by_source"), make_examples(rows), 2, 0)
    assert portions.tolist() == [0] * 5 + [1] * 4


def test_too_few_sources_are_an_error_that_names_a_way_out(make_examples):
    with pytest.raises(DataError, match=r"2 sources cannot fill 3 portions: a, b\. Set k to 2.*kmeans"):
        by_source(make_examples([{"source": "a"}, {"source": "b"}, {"source": "b"}]), 3, 0)


def test_tokens_before_rendering_are_an_error(make_examples):
    bound = registry("disperse").bind("by_source", {"balance": "tokens"})
    with pytest.raises(DataError, match="not rendered"):
        assign(bound, make_examples([{}] * 3), 1, 0)
