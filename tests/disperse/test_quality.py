"""A split's figures against scikit-learn, against all pairs, and against closed forms."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.disperse.agreement import agreement
from dtm.disperse.plane import LETTERS, POINTS, _principal, plane
from dtm.disperse.quality import quality, similarity

PARTS = st.integers(1, 25).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, 4), min_size=n, max_size=n) for _ in range(2)))
)


@settings(max_examples=80, deadline=None)
@given(PARTS)
def test_agreement_is_scikit_learns(parts):
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    one, other = map(np.array, parts)
    found = agreement(one, other)
    assert found["adjusted_rand"] == pytest.approx(adjusted_rand_score(one, other), abs=1e-12)
    assert found["mutual_information"] == pytest.approx(normalized_mutual_info_score(one, other), abs=1e-9)
    assert agreement(other, one) == pytest.approx(found, abs=1e-12)
    assert agreement(one, 4 - one) == pytest.approx({"adjusted_rand": 1, "mutual_information": 1}, abs=1e-12)


@pytest.mark.parametrize("k", [1, 3])
def test_similarity_is_the_mean_over_all_pairs(k):
    rng = np.random.default_rng(k)
    points, portions = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(k, size=60)
    points[[3, 11]] = 0
    found = similarity(points, portions, k)
    pairs = {}
    for i in range(60):
        for j in range(i):
            if i not in (3, 11) and j not in (3, 11):
                one, other = points[i].astype(float), points[j].astype(float)
                cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
                pairs.setdefault(tuple(sorted((portions[i], portions[j]))), []).append(cosine)
    for i in range(k):
        for j in range(k):
            assert found["portions"][i][j] == pytest.approx(np.mean(pairs[min(i, j), max(i, j)]), abs=1e-6)
    inside = [value for (i, j), values in pairs.items() for value in values if i == j]
    across = [value for (i, j), values in pairs.items() for value in values if i != j]
    assert found["rows"] == 58
    assert found["within"] == pytest.approx(np.mean(inside), abs=1e-6)
    assert found["across"] == (pytest.approx(np.mean(across), abs=1e-6) if across else None)


def test_a_portion_of_one_row_has_no_pair_inside():
    found = similarity(np.eye(3, dtype=np.float32), np.array([0, 1, 1]), 2)
    assert found["portions"] == [[None, 0.0], [0.0, 0.0]]


def test_of_very_many_portions_pairs_are_not_told_one_by_one():
    points = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    found = similarity(points, np.arange(200) % 65, 65)
    assert found["portions"] == []
    assert -1 < found["across"] < 1


@pytest.fixture
def split(make_examples):
    """Two subjects in two portions, a near-duplicate that crosses them, and one that a family holds."""
    rows = [{"instruction": f"boil the soup number {n} with salt and some more {'abcdefgh'[n] * 3} salt",
             "source": "kitchen"} for n in range(8)]  # fmt: skip
    rows += [{"instruction": f"planet {n} orbits {'ijklmnop'[n] * 4} stars far away", "source": "sky"}
             for n in range(8)]  # fmt: skip
    for row in (3, 12):
        rows.append(dict(rows[row]))
    rows[17]["family"] = "12"
    portions = np.array([0] * 8 + [1] * 8 + [1, 1])
    return make_examples(rows, tokens=[(10, 4)] * 8 + [(20, 4)] * 10), portions


def test_the_figures_of_a_split(split):
    found, crossing = quality(*split, 2, seed=1)
    assert found["balance"] == {"rows": 10 / 9, "tokens": pytest.approx(200 / 140), "trained_tokens": 10 / 9}
    assert found["agreement"]["adjusted_rand"] == pytest.approx(0.778, abs=0.05)
    duplicates = found["near_duplicates"]
    assert (duplicates["crossing_groups"], duplicates["crossing_rows"], duplicates["groups"]) == (1, 2, 1)
    assert crossing == [(0, 0, 3), (0, 1, 16)]
    assert found["similarity"]["of"] == "tf-idf"
    assert found["similarity"]["within"] > found["similarity"]["across"] + 0.2
    json.dumps(found, allow_nan=False)
    assert quality(*split, 2, seed=1) == (found, crossing)


def test_with_an_embedding_rows_are_compared_in_it(split):
    examples, portions = split
    embedding = np.eye(2, dtype=np.float32)[portions]
    found, _ = quality(examples, portions, 2, embedding=embedding)
    assert found["similarity"] == {"of": "embedding", "rows": 18, "within": 1.0, "across": 0.0,
                                   "portions": [[1.0, 0.0], [0.0, 1.0]]}  # fmt: skip
    assert found["map"]["explained"] == 1


def test_one_source_has_nothing_to_agree_with(make_examples):
    found, _ = quality(make_examples([{}, {}]), np.array([0, 1]), 2)
    assert found["agreement"] == {}
    assert found["balance"] == {"rows": 1.0, "tokens": None, "trained_tokens": None}


def test_rows_without_any_word_have_figures(make_examples):
    rows = [{"instruction": "?", "response": "!"}] * 3
    found, crossing = quality(make_examples(rows), np.array([0, 1, 1]), 2)
    assert (found["similarity"]["within"], found["map"]["x"], crossing) == (None, [], [])
    json.dumps(found, allow_nan=False)


def test_directions_are_those_of_the_singular_value_decomposition():
    points = np.random.default_rng(0).normal(size=(200, 6)) * [5, 3, 1, 1, 1, 0.1]
    mean, directions, explained = _principal(points)
    _, values, right = np.linalg.svd(points - points.mean(axis=0))
    assert np.abs((directions * right[:2].T).sum(axis=0)) == pytest.approx([1, 1])
    assert explained == pytest.approx((values[:2] ** 2).sum() / (values**2).sum())
    assert mean == pytest.approx(points.mean(axis=0))


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_map_has_a_sample_of_the_rows_with_their_portions_and_texts_cut(make_examples, width):
    count = POINTS + 50
    examples = make_examples([{"instruction": f"{n}\n<b> {'word ' * 40}"} for n in range(count)])
    points = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    points[7] = 0
    found = plane(examples, np.arange(count), points, np.arange(count) % 3, 5)
    assert found["rows"] == count - 1
    assert {len(found[name]) for name in ("x", "y", "portion", "source", "text")} == {POINTS}
    numbers = [int(text.split()[0]) for text in found["text"]]
    assert len(set(numbers)) == POINTS
    assert 7 not in numbers
    assert found["portion"] == [number % 3 for number in numbers]
    assert all(len(text) <= LETTERS and "\n" not in text for text in found["text"])
    assert found == plane(examples, np.arange(count), points, np.arange(count) % 3, 5)
    if width == 1:
        assert set(found["y"]) == {0.0}
