"""Each way to choose rows against the same choice written out in plain Python, and what all of them promise."""

from __future__ import annotations

import json
import math
import random as chance

import numpy as np
import pyarrow as pa
import pytest

import dtm.curate
from dtm.foundations.errors import DataError
from dtm.foundations.registry import registry
from dtm.foundations.types import SCHEMA, Examples

N = 60
RANDOM = np.random.default_rng(3)
LOSS = RANDOM.uniform(0.5, 4, N)
ALONE = RANDOM.uniform(0.5, 4, N)
POINTS = RANDOM.normal(size=(N, 6))
POINTS = (POINTS / np.linalg.norm(POINTS, axis=1)[:, None]).astype(np.float32)
TOKENS = (RANDOM.integers(20, 90, N), RANDOM.integers(1, 15, N))
GIVEN = {
    "random": {}, "longest": {"tokens": TOKENS}, "perplexity": {"loss": LOSS},
    "ifd": {"loss": LOSS, "alone": ALONE}, "superfiltering": {"loss": LOSS, "alone": ALONE},
    "deita": {"complexity": LOSS, "quality": ALONE, "embedding": POINTS}, "k_center": {"embedding": POINTS},
    "near_duplicates": {},
}  # fmt: skip


def examples(said=None, families=None):
    said = said or [
        f"thing {number} is {' '.join(chance.Random(number).choices('abcdefgh', k=9))}" for number in range(N)
    ]
    rows = [
        {"id": f"r{number}", "source": "s", "parent": None, "family": families[number] if families else f"r{number}",
         "messages": [{"role": "user", "content": "Tell me."}, {"role": "assistant", "content": text}], "meta": "{}"}
        for number, text in enumerate(said)
    ]  # fmt: skip
    return Examples(pa.Table.from_pylist(rows, schema=SCHEMA))


def choose(name, count, seed=0, rows=None, **settings):
    return registry("curate").bind(name, settings)(rows or examples(), count, seed, **GIVEN[name])


def kept(choice):
    return set(np.flatnonzero(choice.kept_N).tolist())


def test_every_method_is_tried_here():
    assert set(registry("curate")) == set(GIVEN)


@pytest.mark.parametrize("name", sorted(GIVEN))
@pytest.mark.parametrize("count", [1, 7, N])
def test_no_more_than_asked_a_reason_for_the_rest_and_the_same_again(name, count):
    count = None if registry("curate")[name].properties.get("count") == "none" else count
    choice = choose(name, count)
    assert (choice.reason_N == "").tolist() == choice.kept_N.tolist()
    if count is not None:
        assert 1 <= choice.kept_N.sum() <= count
        assert (
            kept(choice) <= kept(choose(name, N)) or name == "perplexity"
        )  # a larger choice holds the smaller
    again = choose(name, count)
    assert (again.kept_N == choice.kept_N).all()
    assert (again.reason_N == choice.reason_N).all()


def test_random_rows_are_another_draw_for_another_seed():
    assert kept(choose("random", 20)) != kept(choose("random", 20, seed=1))


def test_the_longest_are_those_with_the_most_tokens_of_response():
    choice = choose("longest", 9)
    long = sorted(TOKENS[1].tolist(), reverse=True)
    assert sorted(TOKENS[1][choice.kept_N].tolist(), reverse=True) == long[:9]
    assert choice.score_N.tolist() == TOKENS[1].tolist()


@pytest.mark.parametrize(("keep", "first"), [("high", 0), ("mid", 25), ("low", 50)])
def test_perplexity_takes_an_end_or_the_middle(keep, first):
    down = sorted(range(N), key=lambda row: -LOSS[row])
    choice = choose("perplexity", 10, keep=keep)
    assert kept(choice) == set(down[first : first + 10])
    np.testing.assert_allclose(choice.score_N, np.exp(LOSS))


@pytest.mark.parametrize("name", ["ifd", "superfiltering"])
def test_ifd_takes_the_highest_ratios_below_one(name):
    """Of losses in the first paper, of perplexities in the second."""
    ratio = {row: LOSS[row] / ALONE[row] if name == "ifd" else math.exp(LOSS[row]) / math.exp(ALONE[row])
             for row in range(N)}  # fmt: skip
    useful = sorted((row for row in ratio if ratio[row] < 1), key=lambda row: -ratio[row])
    choice = choose(name, 8)
    assert kept(choice) == set(useful[:8])
    assert kept(choose(name, N)) == set(useful)
    assert {choice.reason_N[row] for row in ratio if ratio[row] >= 1} == {
        "its instruction does not help (ifd of 1 or more)"
    }


def test_the_two_papers_order_rows_otherwise():
    loss, alone = np.array([3.0, 0.2]), np.array([4.0, 0.5])
    first, second = (
        registry("curate").bind(name, {})(examples(["a", "b"]), 1, 0, loss=loss, alone=alone)
        for name in ("ifd", "superfiltering")
    )
    assert first.score_N.tolist() == pytest.approx([0.75, 0.4])
    assert second.score_N.tolist() == pytest.approx([math.exp(-1.0), math.exp(-0.3)])
    assert (kept(first), kept(second)) == ({0}, {1})


def test_a_response_that_costs_nothing_has_no_ifd():
    bound = registry("curate").bind("ifd", {})
    choice = bound(examples(), N, 0, loss=LOSS, alone=np.where(np.arange(N) == 4, 0.0, ALONE))
    assert choice.reason_N[4] == "no score"
    assert np.isnan(choice.score_N[4])


@pytest.mark.parametrize(
    ("similarity", "least", "count"), [(0.5, None, 10), (0.9, 3.0, None), (0.4, 2.0, 30), (1.0, None, 5)]
)
def test_deita_goes_down_the_product_and_passes_over_what_is_alike(similarity, least, count):
    product = LOSS * ALONE
    taken = []
    for row in sorted(range(N), key=lambda row: -product[row]):
        if least is not None and product[row] < least:
            continue
        if len(taken) != count and all(
            POINTS[row].astype(float) @ POINTS[one] <= similarity for one in taken
        ):
            taken.append(row)
    settings = {"similarity": similarity} | ({"least": least} if least else {})
    choice = choose("deita", count, **settings)
    assert kept(choice) == set(taken)
    np.testing.assert_allclose(choice.score_N, product)


def test_deita_refuses_to_multiply_negative_scores():
    with pytest.raises(DataError, match="negative"):
        registry("curate").bind("deita", {})(
            examples(), 5, 0, complexity=-LOSS, quality=ALONE, embedding=POINTS
        )


def test_k_center_takes_the_farthest_row_each_time():
    choice = choose("k_center", 12, seed=5)
    first = int(np.random.default_rng(5).integers(N))
    taken = [first]
    points = POINTS.astype(float)
    for _ in range(11):
        far = [min(np.linalg.norm(points[row] - points[one]) for one in taken) for row in range(N)]
        taken.append(int(np.argmax(far)))
    assert kept(choice) == set(taken)
    left = [row for row in range(N) if row not in taken]
    nearest = [min(np.linalg.norm(points[row] - points[one]) for one in taken) for row in left]
    np.testing.assert_allclose(choice.score_N[left], nearest, rtol=1e-4)


def test_of_near_duplicates_the_first_stays_and_copies_with_it():
    same = "the quick brown fox jumps over the lazy dog by the river at noon today"
    said = [
        "something else entirely that nobody said before now",
        same,
        f"{same} again",
        same,
        "one more thing to say here",
    ]
    rows = examples(said, ["a", "b", "c", "b", "d"])
    choice = choose("near_duplicates", None, rows=rows, on="response")
    assert kept(choice) == {0, 1, 3, 4}
    assert choice.reason_N[2] == "nearly the same as another row (r1)"


@pytest.mark.parametrize(
    ("rows", "fraction", "count"), [(7, None, 7), (None, 0.25, 10), (None, 0.001, 1), (None, None, None)]
)
def test_how_many_are_kept(rows, fraction, count):
    assert dtm.curate.count_of(rows, fraction, 40) == count


def test_more_than_there_are_is_an_error():
    with pytest.raises(DataError, match="40 rows to choose 41"):
        dtm.curate.count_of(41, None, 40)


def test_rows_without_a_score_are_never_taken():
    scores = np.array([1.0, np.nan, 3.0, np.nan])
    choice = dtm.curate.choosing.highest(scores, 4, 0, lower="lower")
    assert kept(choice) == {0, 2}
    assert json.dumps(choice.reason_N.tolist()) == json.dumps(["", "no score", "", "no score"])
