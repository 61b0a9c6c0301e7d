"""`k: auto`: what the data can feed, what it can fill, how evenly, and which K comes out alike again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dtm.disperse.proposing import STEPS, propose, repeated
from dtm.foundations.errors import DataError
from dtm.foundations.registry import registry
from dtm.foundations.signals.grouped import Grouped


def bound(name, **own):
    return registry("disperse").bind(name, own)


def clusters(count, sizes, seed=0):
    """Rows of `count` dimensions around as many orthogonal directions, `sizes[i]` of the i-th."""
    random = np.random.default_rng(seed)
    subject = random.permutation(np.repeat(np.arange(count), sizes))
    return np.eye(count)[subject] + 0.1 * random.normal(size=(len(subject), count))


@pytest.mark.parametrize(("rows", "k", "starved"), [
    (100 * STEPS, 4, False), (4 * STEPS, 4, False), (4 * STEPS - 1, 3, False), (2 * STEPS, 2, False),
    (2 * STEPS - 2, 2, True), (2, 2, True),
])  # fmt: skip
def test_the_usual_k_unless_the_data_starves_the_sub_models(make_examples, rows, k, starved):
    found = propose(bound("random"), make_examples([{}] * rows), 1, {}, lambda rows: rows)
    assert (found["k"], found["starved"]) == (k, starved)
    assert ("starves" in " ".join(found["why"])) == starved
    json.dumps(found, allow_nan=False)


def test_steps_that_max_steps_fixes_starve_no_k(make_examples):
    found = propose(bound("random"), make_examples([{}] * 40), 1, {}, lambda rows: 10, fixed=True)
    assert (found["k"], found["starved"]) == (4, False)
    assert "max_steps fixes the steps" in found["why"][0]


def test_sources_limit_k_by_their_number_and_by_their_sizes(make_examples):
    sources = ["big"] * 60 + ["one"] * 30 + ["two"] * 30 + ["tiny"]
    found = propose(
        bound("by_source"), make_examples([{"source": one} for one in sources]), 1, {}, lambda _: 999
    )
    assert [one["k"] for one in found["candidates"]] == [2, 3, 4]
    assert [one["balance"] for one in found["candidates"]] == pytest.approx(
        [61 * 2 / 121, 60 * 3 / 121, 60 * 4 / 121]
    )
    assert found["k"] == 3
    why = " ".join(found["why"])
    assert "More than 4 cannot be: 4 sources cannot fill 5 portions" in why
    assert "4 would part the data unevenly: with 4 the largest portion is 1.98" in why
    with pytest.raises(DataError, match="cannot fill 2 portions: 1 sources"):
        propose(bound("by_source"), make_examples([{}] * 9), 1, {}, lambda _: 999)


def test_gradients_are_halved_up_to_the_three_axes_of_merit(make_examples):
    for sources, k in ((12, 8), (7, 4), (2, 2)):
        group = np.arange(120) % sources
        signals = {"source_gradient": Grouped(group, np.random.default_rng(0).normal(size=(sources, 9)))}
        examples = make_examples([{"source": f"s{one}"} for one in group], tokens=[(5, 2)] * 120)
        found = propose(bound("gradient"), examples, 1, signals, lambda _: 999)
        assert found["k"] == k
        assert found["usual"] == 8


@pytest.mark.parametrize("subjects", [3, 6])
def test_as_many_portions_as_there_are_subjects(make_examples, subjects):
    """Separable subjects of equal size: their number comes out alike again, others do not."""
    embedding = clusters(subjects, [60] * subjects)
    examples = make_examples([{}] * len(embedding))
    found = propose(bound("kmeans", restarts=2), examples, 1, {"embedding": embedding}, lambda _: 999)
    stable = {one["k"]: one["stability"] for one in found["candidates"]}
    assert found["k"] == subjects
    assert stable[subjects] > 0.85
    assert max(value for k, value in stable.items() if k != subjects) < stable[subjects] - 0.1
    if subjects == 3:
        assert found == propose(
            bound("kmeans", restarts=2), examples, 1, {"embedding": embedding}, lambda _: 999
        )


def test_without_structure_the_usual_k_or_one_near_it_is_as_good_as_any(make_examples):
    embedding = np.random.default_rng(0).normal(size=(300, 16))
    found = propose(
        bound("kmeans", restarts=1), make_examples([{}] * 300), 1, {"embedding": embedding}, lambda _: 999
    )
    assert max(one["stability"] for one in found["candidates"]) < 0.5


def test_an_unbalanced_split_starves_by_its_smallest_portion(make_examples):
    embedding = clusters(3, [300, 60, 10])
    examples, free = make_examples([{}] * 370), bound("kmeans", balanced=False, restarts=2)
    alike, least, balance = repeated(free, examples, 3, 1, {"embedding": embedding})
    assert alike > 0.95
    assert least == pytest.approx(10 / 370, abs=0.01)
    assert balance == pytest.approx(300 * 3 / 370, abs=0.1)
    found = propose(free, examples, 1, {"embedding": embedding}, lambda rows: 10 * rows)
    assert next(one for one in found["candidates"] if one["k"] == 3)["rows"] <= 14


def test_families_are_sampled_and_compared_whole(make_examples):
    families = np.repeat(np.arange(60), 3)
    embedding = clusters(3, [20] * 3)[families]
    examples = make_examples([{"family": f"f{one}"} for one in families])
    alike, least, _ = repeated(bound("kmeans"), examples, 3, 1, {"embedding": embedding})
    assert alike > 0.8
    assert least > 0.2
