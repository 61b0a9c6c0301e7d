"""Statistics against scipy and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dtm.foundations import statistics


@given(
    st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999)
)
def test_wilson_is_scipys(counts, level):
    successes, n = counts
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert statistics.wilson(successes, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_without_items_knows_nothing():
    assert statistics.wilson(0, 0) == (0.0, 1.0)
    assert statistics.wilson(0, 7)[0] == 0.0
    assert statistics.wilson(7, 7)[1] == 1.0
    with pytest.raises(ValueError, match="8 of 7"):
        statistics.wilson(8, 7)


@pytest.mark.parametrize("draw", ["normal", "binary"])
def test_bootstrap_mean_is_scipys_up_to_resampling(draw):
    random = np.random.default_rng(5)
    values = random.normal(3, 2, 400) if draw == "normal" else (random.random(400) < 0.3).astype(float)
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=6)
    low, high = statistics.bootstrap_mean(values, seed=1, resamples=20_000)
    error = values.std() / 20  # the mean's standard error; quantiles of 20,000 draws vary by some 2 % of it
    assert low == pytest.approx(expected.confidence_interval.low, abs=0.1 * error)
    assert high == pytest.approx(expected.confidence_interval.high, abs=0.1 * error)
    assert statistics.bootstrap_mean(values, seed=1) == statistics.bootstrap_mean(list(values), seed=1)
    assert statistics.bootstrap_mean(values, seed=1) != statistics.bootstrap_mean(values, seed=2)


def test_bootstrap_mean_of_few_values_has_the_exact_quantiles():
    # Three items, one right: the mean of a resample is 0, 1/3, 2/3, 1 with 8, 12, 6, 1 chances of 27.
    assert statistics.bootstrap_mean([1, 0, 0], 0, level=0.9) == (0.0, pytest.approx(2 / 3))
    assert statistics.bootstrap_mean([4, 4, 4], 0) == (4.0, 4.0)


def test_bootstrap_blocks_draw_all_resamples(monkeypatch):
    values = np.random.default_rng(1).normal(size=50)
    whole = statistics.bootstrap_mean(values, 3)
    monkeypatch.setattr(statistics, "BLOCK", 700)
    error = values.std() / np.sqrt(50)
    assert statistics.bootstrap_mean(values, 3) == pytest.approx(whole, abs=0.15 * error)
    assert sum(len(block) for block in statistics._resamples(50, 0, 10_000)) == 10_000


def test_bootstrap_ratio_is_scipys_up_to_resampling():
    random = np.random.default_rng(8)
    tokens = random.integers(1, 200, 300)
    loss = tokens * random.normal(2, 0.5, 300)
    expected = stats.bootstrap((loss, tokens), lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True,
                               vectorized=True, method="percentile", n_resamples=20_000, rng=1)  # fmt: skip
    found = statistics.bootstrap_ratio(loss, tokens, seed=2, resamples=20_000)
    interval = expected.confidence_interval
    assert found == pytest.approx((interval.low, interval.high), abs=0.05 * (interval.high - interval.low))
    with pytest.raises(ValueError, match="positive"):
        statistics.bootstrap_ratio([1.0], [0], 0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_mcnemar_is_the_binomial_test_of_discordant_pairs(pairs):
    a, b = zip(*pairs, strict=True)
    only_a, only_b, p = statistics.mcnemar(a, b)
    assert only_a == sum(x and not y for x, y in pairs)
    assert only_b == sum(y and not x for x, y in pairs)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert p == pytest.approx(expected, rel=1e-9)


def test_mcnemar_refuses_what_is_no_share():
    with pytest.raises(ValueError, match="0 or 1"):
        statistics.mcnemar([0.5], [1])
    with pytest.raises(ValueError, match="not paired"):
        statistics.mcnemar([1, 0], [1])


def test_paired_bootstrap_covers_the_true_difference_as_often_as_it_says():
    random, covered = np.random.default_rng(0), 0
    for trial in range(300):
        skill = random.normal(size=200)  # shared by both models, as hard and easy items are
        a, b = skill + random.normal(0.3, 1, 200), skill + random.normal(0, 1, 200)
        difference, low, high = statistics.paired_bootstrap(a, b, seed=trial, resamples=1000)
        assert difference == pytest.approx(a.mean() - b.mean())
        covered += low <= 0.3 <= high
    assert 0.91 <= covered / 300 <= 0.98


def test_sign_flip_is_the_exact_permutation_test_up_to_sampling():
    random = np.random.default_rng(4)
    a, b = random.normal(0.6, 1, 12), random.normal(0, 1, 12)
    sums = [abs(np.dot(signs, a - b)) for signs in itertools.product((-1, 1), repeat=12)]
    exact = np.mean(np.array(sums) >= abs((a - b).sum()) - 1e-9)
    assert statistics.sign_flip(a, b, seed=1, resamples=50_000) == pytest.approx(exact, abs=0.006)
    assert statistics.sign_flip(a, a, seed=1) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_benjamini_hochberg_is_scipys(p_values):
    expected = stats.false_discovery_control(p_values)
    assert statistics.benjamini_hochberg(p_values) == pytest.approx(list(expected), abs=1e-12)


@settings(max_examples=200)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_closed_form(p_values):
    # Adjusted p of i: the largest, over hypotheses j with p_j <= p_i, of p_j times those not below j.
    expected = [
        min(1.0, max(q * (len(p_values) - sum(other < q for other in p_values)) for q in p_values if q <= p))
        for p in p_values
    ]
    assert statistics.holm(p_values) == pytest.approx(expected, abs=1e-12)


def test_corrections_of_nothing_and_of_no_p_value():
    assert statistics.holm([]) == statistics.benjamini_hochberg([]) == []
    for correct in (statistics.holm, statistics.benjamini_hochberg):
        with pytest.raises(ValueError, match="between 0 and 1"):
            correct([0.1, 1.5])


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")], [[1.0]]])
def test_statistics_refuse_values_that_mean_nothing(values):
    with pytest.raises(ValueError, match="finite"):
        statistics.bootstrap_mean(values, 0)
