"""Bins of scores, and rows taken out of rows: against counts and sets in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from dtm.foundations.types import Examples
from dtm.pipeline.grading import binned
from dtm.pipeline.picking import drawn
from tests.foundations.signals.rendered import save_rows

SCORES = np.array([1.0, 1.5, 3.49, 3.5, 5.0, np.nan, 1.49])


def stages(scores=SCORES, at_random=False, seed=0, **by):
    return binned(scores, seed=seed, at_random=at_random, **by)


def test_a_score_at_a_cut_is_above_it():
    assert stages(cuts=[1.5, 3.5]).tolist() == [0, 1, 1, 2, 2, -1, 0]


def test_quantiles_are_of_rows_and_equal_scores_are_parted_by_a_draw():
    scores = np.array([3.0, 1.0, 2.0, 2.0, 2.0, 2.0, np.nan, 0.0, 9.0])
    found = stages(scores, quantiles=[0.25, 0.75])
    assert np.bincount(found[found >= 0]).tolist() == [2, 4, 2]
    assert found[[7, 1]].tolist() == [0, 0]
    assert found[[0, 8]].tolist() == [2, 2]
    assert found[6] == -1
    same = np.zeros(40)
    draws = {tuple(stages(same, quantiles=[0.5], seed=seed)) for seed in range(3)}
    assert len(draws) == 3
    assert all(sum(one) == 20 for one in draws)


def test_stages_at_random_are_as_large_and_hold_the_same_rows():
    scores = np.arange(90.0)
    scores[7] = np.nan
    plain, random = (stages(scores, quantiles=[0.2, 0.5], at_random=at) for at in (False, True))
    assert np.bincount(plain + 1).tolist() == np.bincount(random + 1).tolist()
    assert random[7] == -1
    assert (plain != random).sum() > 20


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """40 rows of `math`, of 1 to 40 tokens, and 12 of `code`, of 10 each."""
    lengths = [*range(1, 41), *[10] * 12]
    made = [(list(range(5, 5 + length)), [True] * length) for length in lengths]
    sources = ["math"] * 40 + ["code"] * 12
    return Examples.open(save_rows(tmp_path_factory.mktemp("rows") / "rows.arrow", made, sources))


def taken(rows, k, unit="rows", least=1, seed=0):
    part = drawn(rows, k, unit, least, seed)
    sources, (lengths, _) = part.column("source"), part.token_counts()
    ids = [int(one) for one in part.column("id")]
    assert ids == sorted(ids)
    return {name: [(one, length) for one, length, source in zip(ids, lengths.tolist(), sources, strict=True)
                   if source == name] for name in ("math", "code")}  # fmt: skip


@pytest.mark.parametrize(("k", "least", "math", "code"), [
    (0.25, 1, 10, 3), (1 / 256, 1, 1, 1), (1 / 256, 5, 5, 5), (1 / 256, 20, 20, 12), (1.0, 1, 40, 12),
])  # fmt: skip
def test_a_share_of_the_rows_of_each_source_and_no_fewer_than_asked(rows, k, least, math, code):
    found = taken(rows, k, least=least)
    assert (len(found["math"]), len(found["code"])) == (math, code)


@pytest.mark.parametrize("k", [0.05, 0.25, 0.6, 1.0])
def test_a_share_of_the_tokens_is_reached_by_the_last_row_that_is_needed(rows, k):
    for source, whole in (("math", 820), ("code", 120)):
        lengths = [length for _, length in taken(rows, k, "tokens")[source]]
        assert sum(lengths) >= k * whole - 1e-6
        assert sum(lengths) - max(lengths) < k * whole  # one row less would fall short


def test_a_larger_share_holds_the_smaller(rows):
    for unit in ("rows", "tokens"):
        small, large = (set(taken(rows, k, unit)["math"]) for k in (0.2, 0.5))
        assert small < large
    assert taken(rows, 0.5, seed=1) != taken(rows, 0.5, seed=2)
