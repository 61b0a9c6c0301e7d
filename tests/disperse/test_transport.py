import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, linprog

from dtm.disperse.transport import assign_balanced


def total(similarity, portions):
    return similarity[np.arange(len(portions)), portions].sum()


def best_total(similarity):
    """The optimum by the Hungarian method: each portion as N // K seats that must fill, and one that may."""
    count, k = similarity.shape
    must = np.repeat(similarity, count // k, axis=1)
    reward = 1 + 2 * np.abs(similarity).max() * count
    seats = np.concatenate([must + reward, similarity], axis=1) if count % k else must
    rows, chosen = linear_sum_assignment(seats, maximize=True)
    return seats[rows, chosen].sum() - (reward * (count - count % k) if count % k else 0)


@st.composite
def problems(draw):
    """Whole numbers, so that all arithmetic is exact, from few enough values to tie often."""
    k = draw(st.integers(1, 6))
    count = draw(st.integers(k, 40))
    width = draw(st.sampled_from([1, 2, 5, 1000]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    similarity = generator.integers(-width, width + 1, (count, k)).astype(float)
    if draw(st.booleans()):
        similarity[:, 0] += width  # all rows want one portion
    return similarity


@settings(max_examples=300, deadline=None)
@given(problems())
def test_equals_the_hungarian_method(similarity):
    portions, _ = assign_balanced(similarity)
    assert np.ptp(np.bincount(portions, minlength=similarity.shape[1])) <= 1
    assert total(similarity, portions) == best_total(similarity)


@settings(max_examples=50, deadline=None)
@given(problems(), st.integers(-(2**40), 2**40))
def test_any_starting_prices_lead_to_the_optimum(similarity, price):
    prices = price * (np.arange(similarity.shape[1]) - 2)
    assert total(similarity, assign_balanced(similarity, prices)[0]) == best_total(similarity)


@pytest.mark.parametrize("count", [400, 403])
def test_equals_a_linear_programme(count):
    k = 7
    similarity = np.random.default_rng(count).normal(size=(count, k)) + np.linspace(0, 2, k)
    portions, _ = assign_balanced(similarity)
    rows = np.kron(np.eye(count), np.ones(k))
    sizes = np.kron(np.ones(count), np.eye(k))
    bounds = np.r_[np.full(k, -(count // k)), np.full(k, -(count // -k))]
    solved = linprog(
        -similarity.ravel(), A_ub=np.r_[-sizes, sizes], b_ub=bounds, A_eq=rows, b_eq=np.ones(count)
    )
    assert total(similarity, portions) == pytest.approx(-solved.fun, abs=1e-6)


def test_the_dual_proves_the_optimum_of_a_large_problem():
    """No assignment of even sizes beats sum_i max_j (s_ij - p_j) + sum_j p_j N / K, whatever the prices."""
    generator = np.random.default_rng(0)
    count, k = 80_000, 8
    similarity = generator.normal(size=(count, k)) + generator.normal(size=k)
    portions, prices = assign_balanced(similarity)
    assert (np.bincount(portions) == count // k).all()
    price = prices / 2.0**32
    bound = (similarity - price).max(axis=1).sum() + price.sum() * count / k
    assert 0 <= bound - total(similarity, portions) < 1e-5 * count


@pytest.mark.parametrize("distinct", [1, 3])
def test_rows_that_are_all_alike_are_dealt_out_quickly(distinct):
    similarity = np.random.default_rng(0).normal(size=(distinct, 5))[np.arange(30_001) % distinct]
    portions, _ = assign_balanced(similarity)
    assert np.ptp(np.bincount(portions)) == 1
