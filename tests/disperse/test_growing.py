"""Portions over time: known rows stay, new ones join by the method's rule or form portions of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtm.disperse import assign, grow, needed
from dtm.foundations.errors import DataError, MethodError
from dtm.foundations.registry import Bound, Method, registry
from tests.disperse.test_conformance import CASES, SOURCES, signals_of

EACH = [(name, own) for name, own, _ in CASES]


def grown(name, own, examples, before, signals, fresh=0, seed=3):
    bound = registry("disperse").bind(name, own)
    return grow(
        bound, examples, np.asarray(before), seed, {one: signals[one] for one in needed(bound)}, fresh=fresh
    )


def _world(make_examples, families):
    rows = [{"family": f"f{one}", "source": f"s{one % SOURCES:02}", "instruction": f"word{one % 5} and word{one}",
             "meta": json.dumps({"score": int(one) % 7})} for one in families]  # fmt: skip
    return make_examples(rows, tokens=[(2 + one % 6, 1 + one % 3) for one in families])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=st.sampled_from(EACH), data=st.data())
def test_known_rows_keep_their_portions_and_every_new_one_gets_one(make_examples, case, data):
    """Over all methods: known rows stay, families are whole, only known portions are joined, only fresh ones are
    formed; and the same again."""
    name, own = case
    count = data.draw(st.integers(4, 40))
    families = np.array(data.draw(st.lists(st.integers(0, count // 2), min_size=count, max_size=count)))
    families = np.unique(families, return_inverse=True)[1]
    known_families = data.draw(st.integers(1, families.max() + 1))
    k = data.draw(st.integers(1, known_families))
    of_family = np.full(families.max() + 1, -1)
    others = known_families - k
    drawn = data.draw(st.lists(st.integers(0, k - 1), min_size=others, max_size=others))
    of_family[:known_families] = [*range(k), *drawn]
    before = of_family[families].copy()
    repeats = np.flatnonzero(np.concatenate([[False], families[1:] == families[:-1]]))
    before[repeats[::2]] = -1  # a new repeat of a known row follows its family
    for one in range(known_families):  # but no family is all repeats
        before[np.flatnonzero(families == one)[0]] = of_family[one]
    examples, signals = _world(make_examples, families), signals_of(families)

    after = grown(name, own, examples, before, signals)
    assert (after[before >= 0] == before[before >= 0]).all()
    assert after.min() >= 0
    assert after.max() == k - 1
    assert len(set(zip(families, after, strict=True))) == families.max() + 1
    assert (after == grown(name, own, examples, before, signals)).all()

    new = len(set(families[of_family[families] < 0]))
    if new and name != "by_source":
        halves = name == "gradient"  # needs a power of 2, and as many sources among the new rows
        fresh = 1 if halves else data.draw(st.integers(1, new))
        apart = grown(name, own, examples, before, signals, fresh)
        known = of_family[families] >= 0
        assert (apart[known] == of_family[families][known]).all()
        assert set(apart[~known]) == set(range(k, k + fresh))


def test_new_rows_form_portions_as_the_method_would_without_the_known_ones(make_examples):
    families = np.arange(30)
    examples, signals = _world(make_examples, families), signals_of(families)
    before = np.where(families < 12, families % 3, -1)
    for name, own in EACH:
        if name != "by_source":
            after = grown(name, own, examples, before, signals, fresh=2)
            bound = registry("disperse").bind(name, own)
            alone = assign(bound, examples.take(np.arange(12, 30)), 2, 3,
                           {one: signals[one][12:] for one in needed(bound)})  # fmt: skip
            assert (after[12:] == 3 + alone).all()


@pytest.mark.parametrize("name", ["kmeans", "hierarchical", "mini_batch", "birch"])
def test_methods_with_centres_take_a_new_row_to_the_nearest(make_examples, name):
    """Against the cosine to the mean of known unit rows, in fp64; a row that embeds to nothing goes to the smallest."""
    generator = np.random.default_rng(1)
    embedding = generator.normal(size=(60, 6)) * generator.uniform(0.1, 9, (60, 1))
    embedding[55] = 0
    before = np.where(np.arange(60) < 40, np.arange(60) % 4, -1)
    before[:3] = 1  # so that portion 0, and no other, is the smallest
    after = grown(name, {}, make_examples([{}] * 60), before, {"embedding": embedding})
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-300)
    centres = np.stack([unit[before == portion].mean(axis=0) for portion in range(4)])
    expected = (unit @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T).argmax(axis=1)
    expected[55] = np.bincount(before[before >= 0]).argmin()
    assert (after[40:] == expected[40:]).all()


def test_all_rows_without_a_rule_go_to_the_one_smallest_portion(make_examples):
    before = np.array([0, 0, 1, 2, 2, -1, -1, -1])
    assert grown("random", {}, make_examples([{}] * 8), before, {})[5:].tolist() == [1, 1, 1]


def test_sources_stay_whole_and_new_ones_are_packed(make_examples):
    sources = ["a", "a", "a", "b", "b", "a", "new", "new", "other", "b"]
    examples = make_examples([{"source": one} for one in sources])
    after = grown("by_source", {}, examples, [0, 0, 0, 1, 1, -1, -1, -1, -1, -1], {})
    assert after[[5, 9]].tolist() == [0, 1]
    assert after[[6, 7]].tolist() == [1, 1]  # 3 rows against 4
    assert after[8] == 0  # then 5 against 4


def test_lengths_and_scores_stay_sorted(make_examples):
    scores = [1, 2, 3, 10, 11, 12, 2.5, 6.4, 6.6, 99, -5]
    examples = make_examples([{"meta": json.dumps({"s": one})} for one in scores],
                             tokens=[(int(one * 10) + 60, 1) for one in scores])  # fmt: skip
    before = [0, 0, 0, 1, 1, 1, -1, -1, -1, -1, -1]
    for name, own in (("by_difficulty", {"by": "s"}), ("by_length", {})):
        assert grown(name, own, examples, before, {"loss": np.zeros(11)})[6:].tolist() == [0, 0, 1, 1, 0]


def test_topics_take_rows_by_their_words(make_examples):
    texts = ["red apple pear", "green apple", "loud drum horn", "soft horn", "pear apple", "drum", "?"]
    examples = make_examples([{"instruction": one, "response": ""} for one in texts])
    after = grown("topic", {"on": "instruction"}, examples, [1, 1, 0, 0, -1, -1, -1], {})
    assert after[4:].tolist() == [1, 0, 0]


@pytest.mark.parametrize(("before", "fresh", "message"), [
    ([0, 0, 1, 1, 1], 1, "no new row for a new portion.*join"),
    ([-1, -1, -1, -1, -1], 0, "no row left"),
    ([0, 0, 2, -1, -1], 0, "no row left"),
    ([0, 1, 1, 1, -1], 0, "the family a stands in the portions 1 and 0|the family a stands in the portions 0 and 1"),
    ([0, 0, 1, 1, -1], 2, "cannot fill 2 portions"),
])  # fmt: skip
def test_what_cannot_be_is_told(make_examples, before, fresh, message):
    examples = make_examples([{"family": one} for one in "aabbc"])
    with pytest.raises(DataError, match=message):
        grown("random", {}, examples, before, {}, fresh)


def test_a_rule_that_leaves_the_portions_is_an_error(make_examples):
    method = Method(
        "disperse", "mine", lambda *_: None, properties={"join": lambda *_, **__: np.array([0, 0, 7])}
    )
    with pytest.raises(MethodError, match=r"left the portions 0\.\.1"):
        grow(Bound(method, {}), make_examples([{}] * 3), np.array([0, 1, -1]), 0)
