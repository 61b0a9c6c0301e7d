import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.disperse.random import random

sizes = st.lists(st.integers(1, 30), min_size=1, max_size=80)


@given(sizes, st.integers(1, 8), st.integers(0, 2**63))
def test_units_differ_by_one_and_rows_by_the_largest_unit(rows, k, seed):
    rows = np.array(rows)
    portions = random(rows, k, seed, rows=rows)
    units = np.bincount(portions, minlength=k)
    total = np.bincount(portions, weights=rows, minlength=k)
    assert np.ptp(units) <= 1
    assert np.ptp(total) <= rows.max()


def test_every_unit_is_as_likely_in_every_portion():
    """Chi-square of 12 units in 3 portions over 3,000 seeds; 24 degrees of freedom, p < 1e-6 fails."""
    counts = np.zeros((12, 3))
    for seed in range(3000):
        counts[np.arange(12), random(range(12), 3, seed)] += 1
    assert ((counts - 1000) ** 2 / 1000).sum() == pytest.approx(24, abs=58)


def test_the_odd_row_is_not_always_the_first_portions():
    larger = {int(np.bincount(random(range(10), 3, seed)).argmax()) for seed in range(50)}
    assert larger == {0, 1, 2}
