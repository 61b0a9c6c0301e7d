"""MERIT's split against cases by hand and scikit-learn's principal components; clusters of gradients and losses."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from dtm.disperse import assign, needed
from dtm.disperse.gradient import crossed, nested, principal_places
from dtm.disperse.loss_profile import standardised
from dtm.foundations.errors import DataError, MethodError
from dtm.foundations.registry import registry
from dtm.foundations.signals.grouped import Grouped

AXES = np.array(
    [[4, 1], [4, -1], [-4, 1], [-4, -1]], np.float64
)  # they disagree most on the first, then the second


def portions(name, examples, k, signals, seed=0, **settings):
    return assign(registry("disperse").bind(name, settings), examples, k, seed, signals).tolist()


@pytest.fixture
def four(make_examples):
    """Eight rows, two of each of four sources, of equal lengths."""
    rows = [{"source": f"s{number // 2}"} for number in range(8)]
    return make_examples(rows, tokens=[(10, 5)] * 8), np.arange(8) // 2


def test_sources_part_on_the_axis_of_most_conflict_and_then_on_the_next(four):
    examples, groups = four
    signals = {"source_gradient": Grouped(groups, AXES)}
    assert portions("gradient", examples, 1, signals) == [0] * 8
    halves = portions("gradient", examples, 2, signals)
    low, high = halves[0], halves[4]
    assert {low, high} == {0, 1}
    assert halves == [low] * 4 + [high] * 4
    found = portions("gradient", examples, 4, signals)
    assert sorted(found) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [portion // 2 for portion in found] == [low] * 4 + [high] * 4  # the first axis is the higher bit
    assert found[0] % 2 == found[4] % 2  # sources 0 and 2 are on one side of the second
    assert found == portions("gradient", examples, 4, signals, halves="crossed")


def test_the_length_of_a_gradient_does_not_count(four):
    examples, groups = four
    scaled = AXES * np.array([[1], [1e-6], [30], [5]])
    expected = portions("gradient", examples, 4, {"source_gradient": Grouped(groups, AXES)})
    assert portions("gradient", examples, 4, {"source_gradient": Grouped(groups, scaled)}) == expected


def test_the_median_is_weighted_by_tokens_or_by_rows(make_examples):
    """On a line, source 3 has as many tokens as all before it."""
    examples = make_examples([{"source": f"s{n}"} for n in range(4)], tokens=[(10, 1)] * 3 + [(30, 1)])
    angles = np.array([0.0, 0.3, 0.6, 0.9])
    signals = {"source_gradient": Grouped(np.arange(4), np.stack([np.cos(angles), np.sin(angles)], axis=1))}
    by_tokens = portions("gradient", examples, 2, signals)
    assert by_tokens in ([0, 0, 0, 1], [1, 1, 1, 0])
    assert portions("gradient", examples, 2, signals, balance="rows") in ([0, 0, 1, 1], [1, 1, 0, 0])


def test_places_are_scikit_learns_principal_components_of_unit_gradients():
    from sklearn.decomposition import PCA

    gradients = np.random.default_rng(0).normal(size=(12, 40)) + 2
    ours = principal_places(gradients, 3, centre=True)
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    theirs = PCA(3, svd_solver="full").fit_transform(unit)
    assert np.abs(ours) == pytest.approx(np.abs(theirs), abs=1e-9)
    assert (ours[np.abs(ours).argmax(axis=0), range(3)] > 0).all()
    values, vectors = np.linalg.eigh(unit @ unit.T)
    plain = principal_places(gradients, 1, centre=False)[:, 0]
    assert np.abs(plain) == pytest.approx(np.abs(vectors[:, -1]) * values[-1] ** 0.5, abs=1e-9)


def test_halves_of_halves_weigh_the_same_where_crossed_sides_do_not():
    """Sources on a diagonal: the two axes say the same, so two of the crossed portions stay empty."""
    places = np.repeat(np.arange(8.0)[:, None], 2, axis=1)
    assert np.bincount(nested(places, np.ones(8))).tolist() == [2, 2, 2, 2]
    with pytest.raises(DataError, match=r"portion 1.*halves: nested"):
        crossed(places, np.ones(8))


@pytest.mark.parametrize("heavy", [0, 3, 7])
def test_one_heavy_source_leaves_sources_enough_for_every_portion(heavy):
    weights = np.ones(8)
    weights[heavy] = 1000
    places = np.random.default_rng(1).normal(size=(8, 3))
    assert sorted(nested(places, weights)) == list(range(8))


def test_only_sources_that_are_there_count(make_examples):
    examples = make_examples([{"source": "a"}, {"source": "d"}], tokens=[(4, 2)] * 2)
    signals = {"cluster_gradient": Grouped(np.array([0, 3]), AXES)}
    assert sorted(portions("gradient", examples, 2, signals, sources="discovered")) == [0, 1]
    with pytest.raises(DataError, match=r"2 clusters cannot fill 4 portions.*disperse.gradients.clusters"):
        portions("gradient", make_examples([{}] * 4, tokens=[(4, 2)] * 4), 4,
                 {"cluster_gradient": Grouped(np.array([0, 3, 3, 0]), AXES)}, sources="discovered")  # fmt: skip


def test_what_it_needs_depends_on_whose_sources():
    bind = registry("disperse").bind
    assert needed(bind("gradient")) == ("source_gradient",)
    assert needed(bind("gradient", {"sources": "discovered"})) == ("cluster_gradient",)
    assert needed(bind("gradient_kmeans")) == ("gradient",)
    assert needed(bind("loss_profile")) == ("loss_profile",)


@pytest.mark.parametrize(("k", "groups", "message"), [
    (3, 4, r"3 is no power of 2.*Set k to 2 or 4"),
    (4, 3, r"3 sources cannot fill 4 portions.*sources: discovered"),
])  # fmt: skip
def test_a_k_that_does_not_fit_is_told(make_examples, k, groups, message):
    examples = make_examples([{}] * 8, tokens=[(4, 2)] * 8)
    with pytest.raises(DataError, match=message):
        portions("gradient", examples, k, {"source_gradient": Grouped(np.arange(8) % groups, AXES)})
    with pytest.raises(MethodError, match="needs the signal 'source_gradient'"):
        portions("gradient", examples, 2, {})


def test_a_gradient_that_is_not_finite_is_told(four):
    examples, groups = four
    with pytest.raises(DataError, match="not finite"):
        portions("gradient", examples, 2, {"source_gradient": Grouped(groups, AXES * np.nan)})


def test_rows_that_teach_alike_go_together_also_where_all_share_most(make_examples):
    generator = np.random.default_rng(0)
    apart = np.eye(4, 20)[np.arange(80) % 4] + 0.05 * generator.normal(size=(80, 20))
    shared = 8 * np.ones(20)  # before centring all cosines are above 0.98
    examples = make_examples([{}] * 80)
    found = portions("gradient_kmeans", examples, 4, {"gradient": shared + apart})
    assert len(set(zip(found, np.arange(80) % 4, strict=True))) == 4


def test_rows_part_by_where_in_the_response_the_base_fails(make_examples):
    generator = np.random.default_rng(0)
    profiles = np.array([[3, 1, 1], [1, 1, 3], [1, 3, 1]])[np.arange(60) % 3] + 0.1 * generator.normal(
        size=(60, 3)
    )
    found = portions("loss_profile", make_examples([{}] * 60), 3, {"loss_profile": profiles})
    assert len(set(zip(found, np.arange(60) % 3, strict=True))) == 3
    flat = standardised(np.column_stack([profiles, np.full(60, 0.1)]))
    assert flat[:, :3].std(axis=0) == pytest.approx(1, abs=1e-5)
    assert not flat[:, 3].any()


@pytest.mark.parametrize("name", ["gradient", "gradient_kmeans", "loss_profile"])
def test_the_number_of_blas_threads_changes_nothing(make_examples, name):
    generator = np.random.default_rng(3)
    examples = make_examples([{}] * 3000, tokens=[(5, 2)] * 3000)
    signals = {
        "source_gradient": Grouped(np.arange(3000) % 150, generator.normal(size=(150, 4000))),
        "gradient": generator.normal(size=(3000, 64)),
        "loss_profile": generator.random((3000, 8)),
    }
    answers = []
    for threads in (1, 2, 4):
        with threadpool_limits(threads, user_api="blas"):
            answers.append(portions(name, examples, 8, signals))
    assert answers[0] == answers[1] == answers[2]
