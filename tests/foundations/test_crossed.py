"""Seeds and items crossed: against scipy, brute force, an analysis of variance done another way, and coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dtm.foundations import crossed

REGIMES = {  # standard deviations of seeds, items and the rest
    "seeds differ": (0.1, 0.1, 0.3),
    "items differ": (0.01, 0.4, 0.2),
    "both": (0.03, 0.4, 0.4),
    "neither": (0.0, 0.0, 0.5),
}


def drawn(random, seeds, items, spread, mean=0.0):
    a, b, rest = spread
    return (
        mean
        + random.normal(0, a, (seeds, 1))
        + random.normal(0, b, (1, items))
        + random.normal(0, rest, (seeds, items))
    )


def test_one_seed_is_students_t_over_items():
    values = np.random.default_rng(0).normal(0.1, 1, (1, 40))
    found, expected = crossed.crossed([values]), stats.ttest_1samp(values[0], 0)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert found.degrees == pytest.approx(39)


def test_items_that_do_not_differ_leave_students_t_over_seeds():
    rows = np.random.default_rng(1).normal(0.2, 1, 6)
    found, expected = crossed.crossed([np.repeat(rows[:, None], 30, axis=1)]), stats.ttest_1samp(rows, 0)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.degrees == pytest.approx(5)
    assert crossed.over_seeds(rows) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-12)
    assert crossed.over_seeds(rows[:1]) is None


def test_variance_and_degrees_are_those_of_the_analysis_of_variance():
    """Mean squares by regression on dummies, and Satterthwaite's formula, for two benchmarks of other sizes."""
    random = np.random.default_rng(2)
    tables = [drawn(random, 5, 30, (0.2, 0.5, 0.3)), drawn(random, 5, 50, (0.1, 0.6, 0.2), 1.0)]
    found = crossed.crossed(tables)
    variance = np.var([np.mean([table[s].mean() for table in tables]) for s in range(5)], ddof=1) / 5
    terms = [(variance, 4)]
    for table in tables:
        items, rest = (square / (5 * table.shape[1] * 4) for square in _mean_squares(table))
        variance += items - rest
        terms += [(items, table.shape[1] - 1), (rest, 4 * (table.shape[1] - 1))]
    degrees = variance**2 / sum(part**2 / df for part, df in terms)
    assert found.value == pytest.approx(np.mean([table.mean() for table in tables]), rel=1e-12)
    assert found.error == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert found.degrees == pytest.approx(degrees, rel=1e-9)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.value) / np.sqrt(variance), degrees), rel=1e-9)
    half = stats.t.ppf(0.975, degrees) * np.sqrt(variance)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), rel=1e-9)


def _mean_squares(table):
    """Of items and of the rest, by least squares on dummy variables."""
    seeds, items = table.shape
    s, i = (index.ravel() for index in np.indices(table.shape))
    dummies = [np.eye(seeds)[s], np.eye(items)[i]]

    def left(*columns):
        design = np.hstack([np.ones((table.size, 1)), *columns])
        return np.sum((table.ravel() - design @ np.linalg.lstsq(design, table.ravel(), rcond=None)[0]) ** 2)

    whole = left(*dummies)
    return (left(dummies[0]) - whole) / (items - 1), whole / ((seeds - 1) * (items - 1))


def test_seeds_that_agree_by_luck_do_not_make_the_items_certain():
    """One item won under the first seed and another under the second: the seeds' means do not vary, items do."""
    table = np.zeros((2, 60))
    table[0, 7] = table[1, 33] = 1
    found, alone = crossed.crossed([table]), stats.ttest_1samp(table.mean(0), 0)
    interval = alone.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.p == pytest.approx(alone.pvalue, rel=1e-9)


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_cover_and_p_keeps_its_size_whatever_differs(regime, seeds):
    random, trials = np.random.default_rng(seeds), 500
    careful = regime == "neither"  # there the wider of two good intervals is taken
    found = [crossed.crossed([drawn(random, seeds, 80, REGIMES[regime], 0.3)]) for _ in range(trials)]
    covered = np.mean([one.low <= 0.3 <= one.high for one in found])
    assert 0.92 <= covered <= (0.998 if careful else 0.985)  # 500 trials: two standard errors are 0.02
    null = [crossed.crossed([drawn(random, seeds, 80, REGIMES[regime])]).p for _ in range(trials)]
    assert (0.002 if careful else 0.015) <= np.mean(np.array(null) < 0.05) <= 0.08


def test_the_detectable_difference_is_found_as_often_as_it_says():
    """With many items the error is known well, so that a true mean of that size is found in four of five trials."""
    random, size = np.random.default_rng(7), crossed.Estimate(0, 0.05, 399, 0, 0, 1).detectable(1)
    p = [crossed.crossed([random.normal(size, 1, (1, 400))]).p for _ in range(600)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.8, abs=0.05)
    assert crossed.Estimate(0, 0.05, 399, 0, 0, 1).detectable(50) > size


@settings(max_examples=60)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_exact_signs_is_what_all_signs_give(totals):
    observed = abs(sum(totals))
    sums = [abs(np.dot(signs, totals)) for signs in itertools.product((-1, 1), repeat=len(totals))]
    expected = np.mean(np.array(sums) >= observed)
    assert crossed.exact_signs(np.array(totals)) == pytest.approx(expected, abs=1e-12)


def test_many_items_are_convolved_fast_and_as_exactly():
    """9,000 items of 5 seeds take the fast convolution; a normal approximation is near enough to show a mistake."""
    random = np.random.default_rng(3)
    totals = random.integers(-5, 6, 9000)
    totals[:150] = 5
    expected = 2 * stats.norm.sf((abs(totals.sum()) - 0.5) / np.sqrt(np.square(totals).sum()))
    assert crossed.exact_signs(totals) == pytest.approx(expected, rel=0.02)


def test_mcnemar_over_one_seed_is_mcnemars():
    random = np.random.default_rng(4)
    a, b = random.integers(0, 2, (2, 1, 200)).astype(float)
    only_a, only_b, p = crossed.mcnemar_over_seeds(a, b)
    assert (only_a, only_b) == (int((a > b).sum()), int((b > a).sum()))
    assert p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue, rel=1e-9)


def test_mcnemar_counts_an_item_once_for_all_its_seeds():
    """Five copies of one seed are no more evidence than that seed, where pooled pairs would be."""
    random = np.random.default_rng(5)
    a, b = (random.random((1, 60)) < 0.6).astype(float), (random.random((1, 60)) < 0.4).astype(float)
    once, five = (
        crossed.mcnemar_over_seeds(a, b),
        crossed.mcnemar_over_seeds(np.repeat(a, 5, 0), np.repeat(b, 5, 0)),
    )
    assert five[0] == 5 * once[0]
    assert five[2] == pytest.approx(once[2], rel=1e-9)


def test_values_that_are_no_shares_are_tested_by_random_signs():
    random = np.random.default_rng(6)
    a, b = random.normal(0.5, 1, (3, 12)), random.normal(0, 1, (3, 12))
    means = (a - b).mean(0)
    exact = np.mean([abs(np.dot(signs, means)) >= abs(means.sum()) - 1e-12
                     for signs in itertools.product((-1, 1), repeat=12)])  # fmt: skip
    only_a, only_b, p = crossed.mcnemar_over_seeds(a, b)
    assert only_a is only_b is None
    assert p == pytest.approx(exact, abs=0.02)


def test_pigeonhole_draws_seeds_and_items_crossed():
    """Against a bootstrap that says what it does: indices of seeds, indices of items, the mean of what they cross."""
    random = np.random.default_rng(8)
    values = drawn(random, 5, 40, (0.2, 0.3, 0.3), 0.5)
    found = crossed.pigeonhole(crossed.resampled_means(values, 1, 20_000), 2)
    means = [
        values[np.ix_(random.integers(0, 5, 5), random.integers(0, 40, 40))].mean() for _ in range(20_000)
    ]
    assert found == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    assert crossed.pigeonhole(crossed.resampled_means(values, 1, 20_000), 2) == found


def test_items_are_drawn_in_blocks_alike(monkeypatch):
    values = np.random.default_rng(9).normal(size=(4, 30))
    monkeypatch.setattr(crossed, "BLOCK", 1000)
    blocks = crossed.resampled_means(values, 3, 500)
    assert blocks.shape == (500, 4)
    assert blocks.mean(axis=0) == pytest.approx(values.mean(axis=1), abs=0.03)
    # all rows get the same draws, so that their differences are paired
    shifted = crossed.resampled_means(np.vstack([values, values + 1]), 3, 500)
    assert shifted[:, 4:] - shifted[:, :4] == pytest.approx(np.ones((500, 4)), abs=1e-12)


def test_a_difference_that_never_varies_has_no_width():
    same = crossed.crossed([np.zeros((3, 10))])
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert (
        crossed.crossed([np.ones((3, 10))]).p == 0
    )  # the exact test of the items bounds it where both are used
