"""Axes, curves and wording: properties that hold for any numbers."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.report.axis import Axis, axis, label
from dtm.report.curves import FIELDS, curves, path, smooth, thinned
from dtm.report.schema import complete
from dtm.report.wording import duration, interval, is_share, listing, probability, score, short, signed

FINITE = st.floats(-1e9, 1e9, allow_nan=False)


@given(st.lists(FINITE | st.none() | st.just(math.nan), max_size=20))
def test_an_axis_holds_its_values_and_has_even_round_ticks_inside(values):
    scale = axis(values)
    known = [value for value in values if value is not None and math.isfinite(value)]
    assert scale.low < scale.high
    assert all(scale.low <= value <= scale.high for value in known)
    assert all(
        scale.low <= tick <= scale.high or math.isclose(tick, scale.low, rel_tol=1e-6) for tick in scale.ticks
    )
    steps = np.diff(scale.ticks)
    assert len(steps) == 0 or np.allclose(steps, steps[0], rtol=1e-4)
    assert 1 <= len(scale.ticks) <= 12


@given(FINITE, FINITE, FINITE)
def test_places_are_in_order_and_in_percent(a, b, c):
    scale = axis([a, b])
    places = [scale.place(value) for value in sorted((a, b, c))]
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 100


def test_ends_that_are_asked_for_have_no_margin():
    scale = axis([], include=(0.0, 3.0))
    assert (scale.low, scale.high, scale.ticks) == (0.0, 3.0, [0.0, 1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.25, "0.25"), (-1.5, "−1.5"), (1500, "1.5k"), (2e6, "2M"), (3e-5, "3e−5")]
)
def test_tick_labels(value, text):
    assert label(value) == text


@given(st.lists(st.floats(-10, 10) | st.none(), min_size=1, max_size=40))
def test_smoothing_is_a_centred_mean_that_keeps_ends_gaps_and_range(values):
    smoothed = smooth(values, 5)
    known = [value for value in values if value is not None]
    assert [value is None for value in smoothed] == [value is None for value in values]
    assert smoothed[0] == values[0]
    assert smoothed[-1] == values[-1]
    assert all(min(known) - 1e-9 <= value <= max(known) + 1e-9 for value in smoothed if value is not None)


def test_smoothing_against_numpy_in_the_middle():
    values = np.random.default_rng(0).normal(size=50)
    expected = np.convolve(values, np.ones(9) / 9, "valid")
    assert smooth(list(values))[4:-4] == pytest.approx(list(expected))


def test_thinning_averages_measurements_and_keeps_the_last_place():
    points = [dict.fromkeys(FIELDS, None) | {"step": i, "loss": float(i)} for i in range(1, 8)]
    rows = thinned(points, 3)
    assert [(row[0], row[3]) for row in rows] == [(3, 2), (6, 5), (7, 7)]


def test_a_path_goes_through_its_points_and_breaks_at_gaps():
    scale = Axis(0, 10, [])
    text = path([(0, 0), (5, 10), (None, 3), (6, None), (10, 5)], scale, scale)
    assert text == "M0 1000L0 1000L500 0M1000 500L1000 500"


def test_curves_of_a_large_run_stay_within_the_budget(make_results):
    found = curves(complete(make_results(k=64, tasks=1, points=2000)), {}, [])
    assert found["group"] > 1
    assert sum(len(series["rows"]) for series in found["data"]) <= 6000
    assert all(re.fullmatch(r"(?:[ML]\d+ \d+)+", series["bold"]) for series in found["series"])


def test_curves_without_epochs_are_by_step():
    results = complete(
        {"format": 1, "curves": [{"model": "m", "points": [{"step": 1, "loss": 2.0}, {"step": 9}]}]}
    )
    found = curves(results, {}, [])
    assert found["across_name"] == "step"
    assert found["series"][0]["last"] == 2.0
    assert curves(complete({"format": 1, "curves": [{"model": "m"}]}), {}, []) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0, "0.0 s"), (59.9, "59.9 s"), (59.96, "1 min 00 s"), (61, "1 min 01 s"), (3599.4, "59 min 59 s"),
     (3599.6, "1 h 00 min"), (36000, "10 h 00 min")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


@given(st.integers(0, 10**12))
def test_short_counts_are_within_half_a_percent(number):
    text = short(number)
    size = {"k": 1e3, "M": 1e6, "B": 1e9}.get(text[-1], 1)
    assert float(text.rstrip("kMB")) * size == pytest.approx(number, rel=0.0051)


def test_scores_signs_and_intervals():
    assert score(0.41251, True) == "41.3"
    assert score(12.3456, False) == "12.35"
    assert score(None, True) == "–"
    assert signed(0.0213, True) == "+2.1"
    assert signed(-0.0213, True) == "−2.1"
    assert signed(-0.0001, True) == "0.0"
    assert interval(0.361, 0.464, True) == "[36.1, 46.4]"
    assert interval(None, 1.0, True) == ""
    assert interval(-0.012, 0.054, True, sign=True) == "[−1.2, +5.4]"


@pytest.mark.parametrize(
    ("metric", "values", "share"),
    [("acc", [0.2, None], True), ("exact_match", [0, 1], True), ("acc", [41.0], False), ("perplexity", [0.9], False),
     ("loglikelihood", [-1.5], False), ("bits_per_byte", [0.8], False), ("filtered_acc", [0.5], True)],
)  # fmt: skip
def test_shares_are_known_by_name_and_range(metric, values, share):
    assert is_share(metric, values) is share


def test_words():
    assert [listing(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert [probability(p) for p in (None, 1e-5, 0.0312, 0.42)] == [
        "not tested",
        "p < 0.001",
        "p = 0.031",
        "p = 0.42",
    ]
