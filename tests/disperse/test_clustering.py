"""The clustering methods beside k-means: what they find, how even they are, and on how many threads."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from dtm.disperse import assign
from dtm.disperse.birch import birch
from dtm.disperse.hierarchical import hierarchical, two_sides
from dtm.disperse.mini_batch import _batches, mini_batch
from dtm.disperse.topic import shares, topic
from dtm.foundations.registry import registry

METHODS = [hierarchical, mini_batch, birch]


def blobs(generator, sizes, dimensions=20, noise=0.05):
    groups = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return np.eye(dimensions)[groups] + noise * generator.normal(size=(len(groups), dimensions)), groups


def same_partition(a, b):
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(2))
def test_separate_groups_of_one_size_are_found_whatever_the_rows_lengths(method, seed):
    generator = np.random.default_rng(seed)
    points, groups = blobs(generator, [50] * 4)
    points *= 2.0 ** generator.integers(-6, 6, (len(points), 1))
    assert same_partition(method(None, 4, seed, embedding=points), groups)


@pytest.mark.parametrize("method", METHODS)
def test_the_number_of_threads_changes_nothing(method):
    points = np.random.default_rng(6).normal(size=(9000, 8)).astype(np.float32)
    answers = []
    for threads in (1, 3):
        with threadpool_limits(threads):
            answers.append(method(None, 3, 0, embedding=points).tobytes())
    assert answers[0] == answers[1]


def test_halves_are_the_best_of_their_sizes():
    """Every way to choose 4 of 9 units for the first side, 2 of 5 portions' worth."""
    from itertools import combinations

    similarity = np.random.default_rng(0).normal(size=(9, 2))
    sides = two_sides(np.ones(9), 2, 5)(similarity)
    totals = {chosen: similarity[list(chosen), 0].sum() + np.delete(similarity[:, 1], chosen).sum()
              for chosen in combinations(range(9), 4)}  # fmt: skip
    assert tuple(np.flatnonzero(sides == 0)) == max(totals, key=totals.get)


def test_neighbours_in_number_are_halves_of_one_whole():
    """Two subjects of two kinds each: portions 0 and 1 are of one subject, 2 and 3 of the other."""
    generator = np.random.default_rng(3)
    kinds = generator.permutation(np.repeat(np.arange(4), 30))
    points = np.eye(6)[kinds // 2] * 2 + np.eye(6)[2 + kinds] + 0.05 * generator.normal(size=(120, 6))
    portions = hierarchical(None, 4, 0, embedding=points)
    assert same_partition(portions, kinds)
    assert len(set(zip(portions // 2, kinds // 2, strict=True))) == 2


@pytest.mark.parametrize("count", [1, 63, 64, 1000, 4097])
def test_batches_hold_every_row_once(count):
    batches = list(_batches(count, 256, 8, np.random.default_rng(0)))
    assert np.sort(np.concatenate(batches)).tolist() == list(range(count))
    assert all(len(batch) >= 8 for batch in batches) or count < 8


def test_a_mapped_embedding_is_read_where_it_lies(tmp_path):
    points, groups = blobs(np.random.default_rng(1), [300] * 3)
    np.save(tmp_path / "points.npy", points.astype(np.float32))
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    assert same_partition(mini_batch(None, 3, 0, embedding=mapped), groups)


def test_topics_are_those_of_the_words(make_examples):
    generator = np.random.default_rng(0)
    kinds = generator.permutation(np.repeat(np.arange(3), 20))
    words = np.array(["soup", "salt", "oven", "moon", "comet", "star", "loop", "array", "type"]).reshape(3, 3)
    rows = [{"instruction": " ".join(generator.choice(words[kind], 6)), "response": ""} for kind in kinds]
    portions = assign(registry("disperse").bind("topic"), make_examples(rows), 3, 0)
    assert same_partition(portions, kinds)


def test_shares_are_scikit_learns_weights_in_words():
    from scipy.sparse import csr_matrix
    from sklearn.decomposition import NMF

    generator = np.random.default_rng(2)
    dense = generator.random((40, 12)) * (generator.random((40, 12)) < 0.4)
    dense[5] = 0
    features = csr_matrix(dense)
    ours = shares(features, 3, 7, 200)
    peer = NMF(3, init="nndsvda", random_state=0, max_iter=200).fit(features)
    expected = peer.transform(features) * peer.components_.sum(axis=1)
    assert ours.sum(axis=1) == pytest.approx(np.where(np.arange(40) == 5, 0, 1))
    assert ours == pytest.approx(expected / np.maximum(expected.sum(axis=1, keepdims=True), 1e-300), abs=0.02)


def test_more_topics_than_words_leave_the_rest_even(make_examples):
    portions = topic(make_examples([{"instruction": "ant", "response": "ant"}] * 9), 4, 0)
    assert sorted(np.bincount(portions)) == [2, 2, 2, 3]
