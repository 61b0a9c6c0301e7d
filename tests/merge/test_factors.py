"""Methods of adapters against the dense matrices that they stand for, in fp64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.foundations.registry import registry
from dtm.merge.methods.lora_cat import missed

MERGE = registry("merge")


def adapters(count=3, ranks=(4, 2, 6), seed=0):
    rng = np.random.default_rng(seed)
    A_K = [rng.normal(size=(ranks[k], 20)).astype(np.float32) for k in range(count)]
    B_K = [rng.normal(size=(33, ranks[k])).astype(np.float32) for k in range(count)]
    return A_K, B_K, np.array([0.5, 2.0, 1.1][:count]), np.array([1.0, 3.0, 2.0][:count])


def dense(A_K, B_K, scale_K, weights_K, normalize=True):
    shares = weights_K / weights_K.sum() if normalize else weights_K
    return sum(w * s * B.astype(float) @ A for A, B, s, w in zip(A_K, B_K, scale_K, shares, strict=True))


@pytest.mark.parametrize("normalize", [True, False])
def test_cat_is_the_weighted_sum(normalize):
    A, B = MERGE.bind("lora_cat", {"normalize": normalize})(*adapters())
    assert A.shape == (12, 20)
    assert B.shape == (33, 12)
    np.testing.assert_allclose(B.astype(float) @ A, dense(*adapters(), normalize), rtol=0, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_svd_is_the_best_approximation_of_its_rank(rank):
    A, B = MERGE.bind("lora_svd", {"rank": rank})(*adapters())
    exact = dense(*adapters())
    assert A.shape == (rank, 20)
    error = np.linalg.norm(B.astype(float) @ A - exact)
    tail = np.linalg.svd(exact)[1][rank:]  # Eckart and Young: no matrix of this rank is nearer
    assert error == pytest.approx(np.linalg.norm(tail), rel=1e-5, abs=1e-4)


def test_svd_of_a_module_smaller_than_its_rank_is_filled_up():
    A_K, B_K = [np.ones((3, 2), np.float32)] * 2, [np.ones((4, 3), np.float32)] * 2
    ones = np.ones(2)
    A, B = MERGE.bind("lora_svd", {"rank": 6})(A_K, B_K, ones, ones)
    assert A.shape == (6, 2)
    np.testing.assert_allclose(B @ A, dense(A_K, B_K, ones, ones), atol=1e-6)


def test_average_is_of_the_factors():
    A_K, B_K, _, weights_K = adapters(2, (4, 4))
    A, B = MERGE.bind("lora_average")(A_K, B_K, np.array([0.5, 0.5]), weights_K)
    shares = weights_K / weights_K.sum()
    mean_A = sum(w * one.astype(float) for w, one in zip(shares, A_K, strict=True))
    mean_B = sum(w * one.astype(float) for w, one in zip(shares, B_K, strict=True))
    np.testing.assert_allclose(B.astype(float) @ A, 0.5 * mean_B @ mean_A, atol=1e-5)


def test_pico_leaves_directions_that_nobody_shares_and_the_norm():
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(33, 33)))[0]
    A_K = [rng.normal(size=(2, 20)).astype(np.float32) for _ in range(2)]
    ones = np.ones(2)
    apart = [(axes[:, :2] * [5, 4]).astype(np.float32), (axes[:, 2:4] * [3, 2]).astype(np.float32)]
    A, B = MERGE.bind("pico")(A_K, apart, ones, ones)
    np.testing.assert_allclose(B @ A, dense(A_K, apart, ones, ones), atol=1e-5)

    crowded = [np.stack([axes[:, 0] * 5, axes[:, k + 1] * (4 - k)], 1).astype(np.float32) for k in range(2)]
    A, B = MERGE.bind("pico", {"strength": 1.0})(A_K, crowded, ones, ones)
    before, after = dense(A_K, crowded, ones, ones), B.astype(float) @ A
    assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(before), rel=1e-5)
    shared = np.linalg.norm(axes[:, 0] @ after) / np.linalg.norm(axes[:, 0] @ before)
    own = np.linalg.norm(axes[:, 1] @ after) / np.linalg.norm(axes[:, 1] @ before)
    assert shared / own == pytest.approx(0.5, rel=1e-3)  # both use it alike: damped by K^-strength


@pytest.mark.parametrize("name", ["lora_cat", "lora_svd", "pico"])
def test_the_order_of_adapters_does_not_matter(name):
    A_K, B_K, scale_K, weights_K = adapters()
    one = MERGE.bind(name)(A_K, B_K, scale_K, weights_K)
    other = MERGE.bind(name)(A_K[::-1], B_K[::-1], scale_K[::-1], weights_K[::-1])
    np.testing.assert_allclose(one[1] @ one[0], other[1] @ other[0], atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5))
def test_what_factors_miss_is_the_distance_of_the_products(seed, rank, more):
    rng = np.random.default_rng(seed)
    A, B = rng.normal(size=(rank, 7)).astype(np.float32), rng.normal(size=(9, rank)).astype(np.float32)
    exact_A = rng.normal(size=(more, 7)).astype(np.float32)
    exact_B = rng.normal(size=(9, more)).astype(np.float32)
    whole = exact_B.astype(float) @ exact_A
    error, size = missed(A, B, exact_A, exact_B)
    assert error == pytest.approx(np.linalg.norm(B.astype(float) @ A - whole) ** 2, rel=1e-6)
    assert size == pytest.approx(np.linalg.norm(whole) ** 2, rel=1e-6)
    assert missed(exact_A, exact_B, exact_A, exact_B)[0] <= 1e-12 * size
