from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_info, threadpool_limits

from dtm.disperse import lloyd as module
from dtm.disperse.kmeans import kmeans
from dtm.disperse.sphere import own_similarities, similarities, unit_rows
from dtm.foundations.errors import ConfigError, DataError
from dtm.foundations.registry import registry


def sphere(generator, count, dimensions):
    rows = generator.normal(size=(count, dimensions))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def blobs(generator, sizes, dimensions=20, noise=0.05):
    """Tight groups around orthogonal axes, shuffled: rows and the group of each."""
    groups = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return np.eye(dimensions)[groups] + noise * generator.normal(size=(len(groups), dimensions)), groups


def same_partition(a, b):
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


def unit_centres(points, portions):
    sums = np.stack([points[portions == portion].sum(axis=0) for portion in range(portions.max() + 1)])
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


@pytest.mark.parametrize("balanced", [True, False])
def test_separate_groups_of_one_size_are_found(balanced):
    points, groups = blobs(np.random.default_rng(0), [40] * 6)
    assert same_partition(kmeans(None, 6, 0, embedding=points, balanced=balanced), groups)


def test_separate_groups_of_any_size_are_found_when_sizes_are_free():
    points, groups = blobs(np.random.default_rng(1), [200, 50, 9, 3])
    assert same_partition(kmeans(None, 4, 0, embedding=points, balanced=False), groups)


def test_length_does_not_count_only_direction_does():
    generator = np.random.default_rng(2)
    points, _ = blobs(generator, [30, 30, 30], noise=0.4)
    longer = points * 2.0 ** generator.integers(-8, 8, (len(points), 1))
    assert (kmeans(None, 3, 5, embedding=points) == kmeans(None, 3, 5, embedding=longer)).all()


def test_free_portions_hold_the_rows_nearest_to_their_centres():
    points = sphere(np.random.default_rng(3), 500, 6)
    portions = kmeans(None, 5, 0, embedding=points, balanced=False)
    similarity = points @ unit_centres(points, portions).T
    assert (similarity.max(axis=1) - similarity[np.arange(500), portions]).max() < 1e-6


def test_balanced_portions_are_the_best_even_assignment_to_their_centres():
    points = sphere(np.random.default_rng(4), 120, 6)
    portions = kmeans(None, 5, 0, embedding=points)
    similarity = points @ unit_centres(points, portions).T
    rows, seats = linear_sum_assignment(np.repeat(similarity, 24, axis=1), maximize=True)
    best = similarity[rows, seats // 24].sum()
    assert (np.bincount(portions) == 24).all()
    assert similarity[np.arange(120), portions].sum() == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_as_good_as_scikit_learn_by_its_own_measure(seed):
    from sklearn.cluster import KMeans

    generator = np.random.default_rng(seed)
    points = unit_rows(sphere(generator, 8, 10)[generator.integers(0, 8, 1500)]
                       + 0.25 * generator.normal(size=(1500, 10)))[0].astype(np.float64)  # fmt: skip
    portions = kmeans(None, 8, seed, embedding=points, balanced=False, restarts=10)
    means = np.stack([points[portions == portion].mean(axis=0) for portion in range(8)])
    inertia = ((points - means[portions]) ** 2).sum()
    with threadpool_limits(1):
        peer = KMeans(8, n_init=10, random_state=seed).fit(points)
    assert inertia <= 1.01 * peer.inertia_


@pytest.mark.parametrize("balanced", [True, False])
def test_the_number_of_blas_threads_changes_nothing(balanced):
    points = sphere(np.random.default_rng(6), 3000, 128).astype(np.float32)
    answers = []
    for threads in (1, 4):
        with threadpool_limits(threads, user_api="blas"):
            answers.append(kmeans(None, 6, 0, embedding=points, balanced=balanced).tobytes())
    assert answers[0] == answers[1]


def test_blas_runs_on_one_thread_inside_and_as_before_outside(monkeypatch):
    inside = []

    def watched(*arguments):
        inside.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return similarities(*arguments)

    monkeypatch.setattr(module, "similarities", watched)
    with threadpool_limits(3, user_api="blas"):
        kmeans(None, 2, 0, embedding=np.eye(8), restarts=1)
        outside = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    assert set(inside) == {1}
    assert outside == {3}


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("k", [2, 5, 12])
def test_zero_rows_and_equal_rows_fill_portions_evenly(balanced, k):
    points = np.zeros((12, 4))
    points[:3] = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    portions = kmeans(None, k, 0, embedding=points, balanced=balanced)
    assert np.bincount(portions, minlength=k).min() >= 1
    assert np.ptp(np.bincount(portions, minlength=k)) <= 1
    assert k > 2 or (portions[0] == portions[1] != portions[2])


def test_an_emptied_portion_takes_the_row_that_is_served_worst():
    similarity = np.array([[0.9, 0.1, 0.0], [0.8, 0.1, 0.0], [0.2, 0.1, 0.0], [0.0, 0.7, 0.0]], np.float32)
    assert module.free_step(np.ones(4))(similarity).tolist() == [0, 0, 2, 1]


def test_own_similarities_are_those_of_unit_centres():
    points = unit_rows(np.random.default_rng(7).normal(size=(300, 9)))[0]
    portions = np.random.default_rng(8).integers(0, 4, 300)
    centres = unit_centres(points.astype(np.float64), portions)
    expected = np.einsum("nd,nd->n", points, centres[portions])
    assert own_similarities(points, portions, 4) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("settings", [{"restarts": 0}, {"max_iterations": 0}])
def test_settings_below_one_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        registry("disperse").bind("kmeans", settings)


def test_an_embedding_that_is_not_finite_is_refused_by_row():
    points = np.eye(4)
    points[2, 1] = np.nan
    with pytest.raises(DataError, match="row 2"):
        kmeans(None, 2, 0, embedding=points)


def test_rows_of_unit_norm_are_not_copied():
    points = sphere(np.random.default_rng(9), 50, 7).astype(np.float32)
    points[3] = 0
    same, zero = unit_rows(points)
    assert same is points
    assert np.flatnonzero(zero).tolist() == [3]


@pytest.mark.parametrize("balanced", [True, False])
def test_a_million_rows_would_be_started_on_a_sample_and_ended_on_all(balanced, monkeypatch):
    points, groups = blobs(np.random.default_rng(10), [300] * 4)
    monkeypatch.setattr(module, "SAMPLE", 100)
    seen = []
    monkeypatch.setattr(
        module,
        "spread",
        lambda points, *rest, old=module.spread: seen.append(len(points)) or old(points, *rest),
    )
    assert same_partition(kmeans(None, 4, 0, embedding=points, balanced=balanced), groups)
    assert seen == [100] * 4


@pytest.mark.parametrize("seed", range(3))
def test_portions_of_equal_tokens_hold_what_is_near(seed):
    """Two subjects, one of long rows: even tokens part the long one, whose rows are fewer."""
    generator = np.random.default_rng(seed)
    points, groups = blobs(generator, [60, 240])
    tokens = np.where(groups == 0, generator.integers(400, 500, 300), generator.integers(20, 40, 300))
    portions = kmeans(None, 4, seed, embedding=points, tokens=tokens, balance="tokens")
    loads = np.bincount(portions, weights=tokens)
    assert np.ptp(loads) <= 500  # one row, of about 8,600 each
    shares = [np.bincount(groups[portions == portion], weights=tokens[portions == portion], minlength=2) / load
              for portion, load in enumerate(loads)]  # fmt: skip
    assert sum(share.max() > 0.99 for share in shares) >= 2  # by chance each would be mixed, 79 to 21


def test_weights_count_in_centres():
    """Unbalanced: the centre of a portion is its weighted mean, as if heavy rows stood there several times."""
    generator = np.random.default_rng(11)
    points, rows = sphere(generator, 40, 5), generator.integers(1, 4, 40)
    once = kmeans(None, 3, 0, embedding=points, rows=rows, balanced=False, restarts=20)
    centres = np.stack([(rows[once == p, None] * points[once == p]).sum(axis=0) for p in range(3)])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    similarity = points @ centres.T
    assert (similarity.max(axis=1) - similarity[np.arange(40), once]).max() < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_from_many_starts_the_best_even_split_of_few_rows_is_found(seed):
    """Against every way to part nine rows into three portions of three."""
    points = sphere(np.random.default_rng(seed), 9, 3)
    best = 0.0
    for first in combinations(range(1, 9), 2):
        left = [row for row in range(1, 9) if row not in first]
        for second in combinations(left[1:], 2):
            parts = [(0, *first), (left[0], *second), tuple(row for row in left[1:] if row not in second)]
            best = max(best, sum(np.linalg.norm(points[list(part)].sum(axis=0)) for part in parts))
    portions = kmeans(None, 3, seed, embedding=points, restarts=60)
    found = sum(np.linalg.norm(points[portions == portion].sum(axis=0)) for portion in range(3))
    assert found == pytest.approx(best, rel=1e-4)
