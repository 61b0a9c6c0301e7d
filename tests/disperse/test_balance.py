"""Portions of equal weight, against linear programmes and all assignments there are."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from dtm.disperse import balance
from dtm.disperse.balance import assign_even, level, weighted, weights_of
from dtm.disperse.transport import assign_balanced
from dtm.foundations.errors import DataError


def total(similarity, weights, portions):
    return (weights * similarity[np.arange(len(portions)), portions]).sum()


def divided(similarity, weights):
    """The best total where units may be divided: no assignment of equal weights is better."""
    count, k = similarity.shape
    value = (weights[:, None] * similarity).ravel()
    units, loads = np.kron(np.eye(count), np.ones(k)), np.kron(weights, np.eye(k))
    due = np.full(k, weights.sum() / k)
    return -linprog(-value, A_eq=np.r_[units, loads], b_eq=np.r_[np.ones(count), due]).fun


@st.composite
def problems(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    k = draw(st.integers(2, 6))
    count = draw(st.integers(k, 60))
    similarity = generator.normal(size=(count, k))
    if draw(st.booleans()):
        similarity = np.round(similarity)  # many ties
    weights = generator.integers(1, draw(st.sampled_from([2, 5, 1000])), count).astype(float)
    if draw(st.booleans()):
        weights[0] = 10_000
    return similarity, weights


@settings(max_examples=300, deadline=None)
@given(problems())
def test_no_move_of_a_unit_would_even_the_portions_more(problem):
    similarity, weights = problem
    portions = assign_even(similarity, weights)
    k = similarity.shape[1]
    loads = np.bincount(portions, weights=weights, minlength=k)
    assert set(portions) == set(range(k))
    for one, other in product(range(k), repeat=2):
        assert loads[one] - loads[other] <= weights[portions == one].min()


@pytest.mark.parametrize("seed", range(5))
def test_near_the_best_that_divided_units_could_reach(seed):
    generator = np.random.default_rng(seed)
    count, k = 400, 5
    similarity = generator.normal(size=(count, k)) + np.linspace(0, 2, k)
    weights = np.ceil(generator.lognormal(3, 1, count))
    best = divided(similarity, weights)
    ours = total(similarity, weights, assign_even(similarity, weights))
    spread = total(similarity, weights, similarity.argmax(axis=1)) - best  # what balance costs at the least
    assert ours >= best - 0.05 * spread - weights.max() * 0.1


def test_the_prices_alone_nearly_fill_the_portions_and_prove_how_near_they_are():
    """Weak duality: no assignment of equal weights beats sum w max(s - p) + sum p W / K."""
    generator = np.random.default_rng(1)
    count, k = 50_000, 8
    similarity = generator.normal(size=(count, k)) * 0.2 + generator.normal(size=k) * 0.1
    weights = np.ceil(generator.lognormal(4, 1, count))
    portions, prices = weighted(similarity, weights)
    load = np.bincount(portions, weights=weights, minlength=k)
    assert np.maximum(load - load.mean(), 0).sum() <= 1e-3 * load.sum()
    bound = (weights * (similarity - prices).max(axis=1)).sum() + prices.sum() * weights.sum() / k
    even = level(similarity, weights, portions)
    assert 0 <= bound - total(similarity, weights, even) < 1e-5 * abs(bound)
    assert np.ptp(np.bincount(even, weights=weights)) <= weights.max()


def test_units_of_one_weight_get_the_exact_optimum():
    similarity = np.random.default_rng(2).normal(size=(60, 4))
    assert (assign_even(similarity, np.full(60, 7.0)) == assign_balanced(similarity)[0]).all()


@pytest.mark.parametrize("distinct", [1, 2])
def test_units_that_are_all_alike_are_levelled_quickly(distinct):
    similarity = np.zeros((40_000, 6))
    weights = 1.0 + np.arange(40_000) % (distinct + 1)
    loads = np.bincount(assign_even(similarity, weights), weights=weights)
    assert np.ptp(loads) <= 1


def test_weights_are_rows_or_tokens():
    assert weights_of("rows", 3, None, None).tolist() == [1, 1, 1]
    assert weights_of("rows", 3, np.array([2, 1, 3]), None).tolist() == [2, 1, 3]
    assert weights_of("tokens", 3, None, np.array([20, 0, 30])).tolist() == [20, 1, 30]
    with pytest.raises(DataError, match="not rendered"):
        weights_of("tokens", 3, None, None)


@pytest.mark.parametrize("kind", ["smooth", "tied", "one giant"])
def test_the_margin_at_the_due_is_that_of_sorting_all(kind, monkeypatch):
    monkeypatch.setattr(balance, "SORTED", 100)
    generator = np.random.default_rng(0)
    for _ in range(60):
        count = int(generator.integers(101, 3000))
        margins = generator.normal(size=count).round(1 if kind == "tied" else 9)
        weights = generator.integers(1, 50, count).astype(float)
        if kind == "one giant":
            weights[generator.integers(count)] = weights.sum() * generator.random()
        due = float(weights.sum() * generator.random())
        order = np.argsort(-margins, kind="stable")
        crossing = np.searchsorted(np.cumsum(weights[order]), due)
        assert balance.margin_at(margins, weights, due) == margins[order[crossing : crossing + 2]].mean()
