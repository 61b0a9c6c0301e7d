from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dtm.disperse.runs import bands, cut

weights = st.lists(st.integers(0, 50), min_size=1, max_size=60)


@given(st.integers(1, 200), st.integers(1, 200), st.randoms())
def test_runs_of_equal_units_differ_by_at_most_one(count, k, random):
    k = min(k, count)
    order = np.array(random.sample(range(count), count))
    runs = cut(order, np.ones(count), k)
    assert np.ptp(np.bincount(runs, minlength=k)) <= 1
    assert (np.diff(runs[order]) >= 0).all()


@given(weights, st.integers(1, 8), st.booleans())
def test_no_run_is_empty_and_ends_are_off_by_half_a_unit(values, k, giant):
    values = np.array(values + [10_000] * giant)
    k = min(k, len(values))
    runs = cut(np.arange(len(values)), values, k)
    assert set(runs) == set(range(k))
    reached = np.cumsum(np.bincount(runs, weights=values, minlength=k))
    forced = any(np.bincount(runs, minlength=k) == 1)  # an end may have been moved to leave no run empty
    goals = values.sum() * np.arange(1, k + 1) / k
    assert forced or (abs(reached - goals) <= values.max() / 2 + 1e-9).all()


def test_ends_are_the_nearest_of_all_cuts():
    """Against all cuts of eight units in three: each end alone is as near to its goal as any."""
    values = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    runs = cut(np.arange(8), values, 3)
    first, second = np.flatnonzero(np.diff(runs)) + 1
    sums = np.cumsum(values)
    goal = sums[-1] / 3
    best = min(combinations(range(1, 8), 2), key=lambda ends: sum(
        abs(sums[end - 1] - goal * (t + 1)) for t, end in enumerate(ends)))  # fmt: skip
    assert (first, second) == best


def test_bands_hold_equal_numbers_and_ties_go_by_position():
    assert bands(np.array([5.0, 1.0, 3.0, 3.0, 9.0, 0.0]), 3).tolist() == [2, 0, 1, 1, 2, 0]
    assert bands(np.array([1.0, 1.0]), 10).tolist() == [0, 1]
    assert bands(np.array([]), 4).tolist() == []
