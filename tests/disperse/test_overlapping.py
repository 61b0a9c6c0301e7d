"""Copies and replayed rows: families whole, sizes exact, each row in its own portion once; against brute force."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtm.disperse.overlapping import NOWHERE, Split, copied, fitting, replayed
from dtm.disperse.sharing import card, quality
from dtm.foundations.errors import DataError

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def worlds(draw):
    """Families of rows, the portion of each (or -1), and k."""
    count = draw(st.integers(2, 30))
    families = draw(st.lists(st.integers(0, 14), min_size=count, max_size=count))
    families = np.unique(families, return_inverse=True)[1]
    k, different = draw(st.integers(1, 4)), int(families.max()) + 1
    portions = draw(st.lists(st.integers(-1, k - 1), min_size=different, max_size=different))
    return families, np.array(portions)[families], k


def rows_of(families, sources=3):
    return [{"family": f"f{one}", "source": f"s{one % sources}"} for one in families]


def held(copies, portion):
    return set(copies[copies[:, 1] == portion, 0].tolist())


@given(st.lists(st.integers(1, 5), max_size=20), st.integers(-2, 30))
def test_a_queue_is_taken_in_turn_as_one_by_one(sizes, room):
    expected, left = [], room
    for place, size in enumerate(sizes):
        if size <= left:
            expected.append(place)
            left -= size
    assert sorted(fitting(np.array(sizes, np.int64), room).tolist()) == expected


@SLOW
@given(worlds(), st.sampled_from([0.0, 0.1, 0.35, 1.0]), st.booleans())
def test_copies_are_whole_families_of_others_as_many_as_fit(make_examples, world, overlap, embedded):
    families, own, k = world
    examples = make_examples(rows_of(families))
    embedding = np.random.default_rng(0).normal(size=(families.max() + 1, 3))[families] if embedded else None
    copies = copied(examples, own, k, overlap, 7, embedding=embedding)
    assert copies.shape[1] == 2
    assert len({tuple(pair) for pair in copies.tolist()}) == len(copies)
    assert (copies == copies[np.lexsort((copies[:, 1], copies[:, 0]))]).all()
    size = np.bincount(families)
    for portion in range(k):
        taken = held(copies, portion)
        assert not taken & set(np.flatnonzero((own == portion) | (own == NOWHERE)).tolist())
        of = {families[row] for row in taken}
        assert taken == set(np.flatnonzero(np.isin(families, list(of))).tolist())
        room = round(overlap * (own == portion).sum()) - len(taken)
        assert room >= 0
        others = set(families[(own != portion) & (own != NOWHERE)]) - of
        assert all(size[one] > room for one in others)
    assert (copies == copied(examples, own, k, overlap, 7, embedding=embedding)).all()


def test_where_rows_are_families_sizes_are_exact_and_the_nearest_are_taken(make_examples):
    """Against the cosine to the mean of the portion's own unit rows, in fp64; what embeds to nothing comes last."""
    random = np.random.default_rng(3)
    own, embedding = random.permutation(np.arange(200) % 4), random.normal(size=(200, 5))
    embedding[11] = 0
    copies = copied(make_examples([{}] * 200), own, 4, 0.1, 1, embedding=embedding)
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-300)
    for portion in range(4):
        centre = unit[(own == portion) & (np.arange(200) != 11)].mean(axis=0)
        cosine = unit @ centre / np.linalg.norm(centre)
        others = [row for row in np.argsort(-cosine) if own[row] != portion and row != 11]
        assert held(copies, portion) == set(others[:5])
    drawn = [copied(make_examples([{}] * 200), own, 4, 0.1, seed) for seed in (1, 2)]
    assert [np.bincount(one[:, 1]).tolist() for one in drawn] == [[5] * 4] * 2
    assert (drawn[0] != drawn[1]).any()


@SLOW
@given(worlds(), st.data())
def test_kept_copies_stay_and_a_portion_that_did_not_change_takes_no_new_row(make_examples, world, data):
    families, own, k = world
    examples = make_examples(rows_of(families))
    first = copied(examples, own, k, 0.5, 7)
    different = int(families.max()) + 1
    new_of = data.draw(st.lists(st.booleans(), min_size=different, max_size=different))
    new = np.array(new_of)[families]
    known = first[~new[first[:, 0]]]
    changed = np.array(data.draw(st.lists(st.booleans(), min_size=k, max_size=k)), bool)
    after = copied(examples, own, k, 0.5, 8, kept=known, new_N=new, changed_K=changed)
    pairs, before = ({tuple(pair) for pair in some.tolist()} for some in (after, known))
    assert before <= pairs
    for row, portion in pairs - before:
        assert changed[portion] or not new[row]
    lowered = copied(examples, own, k, 0.0, 8, kept=known, new_N=new, changed_K=changed)
    assert (lowered == known).all()


def test_a_new_row_of_a_copied_family_follows_it(make_examples):
    examples, own = make_examples([{"family": one} for one in "aabcc"]), np.array([0, 0, 0, 1, 1])
    kept, new = np.array([[0, 1]]), np.array([False, True, False, False, False])
    assert copied(examples, own, 2, 0, 1, kept=kept, new_N=new).tolist() == [[0, 1], [1, 1]]


@SLOW
@given(
    worlds(), st.sampled_from([None, 0.2, 0.9]), st.one_of(st.none(), st.integers(1, 12)), st.integers(0, 2)
)
def test_replayed_rows_are_whole_families_of_the_sources_as_many_as_fit(
    make_examples, world, fraction, rows, named
):
    families, _, _ = world
    fraction = None if rows is not None else fraction
    examples, sources = make_examples(rows_of(families)), [f"s{one}" for one in range(named)]
    of = np.isin(families % 3, range(named)) if named else np.ones(len(families), bool)
    room = rows if rows is not None else of.sum() if fraction is None else round(fraction * of.sum())
    fits = np.bincount(families)[np.unique(families[of])] <= room
    if not fits.any() or (of.all() and room >= len(families)):
        with pytest.raises(DataError):
            replayed(examples, sources, 5, fraction=fraction, rows=rows)
        return
    aside = replayed(examples, sources, 5, fraction=fraction, rows=rows)
    assert aside.any()
    assert not aside.all()
    assert (aside <= of).all()
    assert set(families[aside]).isdisjoint(families[~aside])
    left = np.bincount(families)[np.unique(families[of & ~aside])]
    assert aside.sum() <= room
    assert (left > room - aside.sum()).all()
    assert (aside == replayed(examples, sources, 5, fraction=fraction, rows=rows)).all()


@pytest.fixture
def shared(make_examples):
    """Two portions of like rows: row 3 of portion 0 is in portion 1 too, row 8 in both, and says what row 0 says."""
    rows = [{"instruction": f"boil the soup number {n} with {'abcdefghi'[n] * 3} salt and pepper and oil",
             "source": "ab"[n % 2]} for n in range(8)]  # fmt: skip
    rows.append(rows[0] | {"source": "general"})
    examples = make_examples(rows, tokens=[(10 + n, 4) for n in range(9)])
    own = np.array([0, 0, 0, 0, 1, 1, 1, 1, NOWHERE])
    return examples, Split(own, 2, np.array([[3, 1]]))


def test_cards_count_all_that_a_portion_trains_on(shared):
    first, second = card(*shared)
    assert (first["rows"], first["copied"], first["replayed"]) == (5, 0, 1)
    assert (second["rows"], second["copied"], second["replayed"]) == (6, 1, 1)
    assert (first["tokens"], second["tokens"]) == (10 + 11 + 12 + 13 + 18, 14 + 15 + 16 + 17 + 13 + 18)
    assert second["sources"] == {"b": 3, "a": 2, "general": 1}
    shown = {one["id"] for portion in (first, second) for one in portion["examples"]}
    assert "8" not in shown


def test_quality_is_of_rows_in_their_own_portion_and_says_what_is_shared(shared):
    """No copy is a near-duplicate of itself, nor is a replayed row one of a row that it repeats."""
    examples, split = shared
    found, crossing = quality(examples, split, seed=1)
    assert crossing == []
    assert found["near_duplicates"]["groups"] == 0
    assert found["similarity"]["rows"] == 8
    assert set(found["map"]["portion"]) == {0, 1}
    assert found["agreement"]["adjusted_rand"] < 0.2
    assert found["balance"]["rows"] == pytest.approx(6 / 5.5)
    told = found["sharing"]
    assert (told["copied"], told["copies"], told["replayed"], told["rows"]) == (1, 1, 1, 11)
    assert told["times_trained_tokens"] == pytest.approx(11 / 9)
    json.dumps(found, allow_nan=False)
    alone, _ = quality(examples, Split(np.where(split.own_N < 0, 0, split.own_N), 2), seed=1)
    assert "sharing" not in alone
    assert alone["near_duplicates"]["groups"] == 1


def test_near_duplicates_that_cross_are_named_by_their_own_rows(shared):
    examples, _ = shared
    split = Split(np.array([NOWHERE, 0, 0, 0, 1, 1, 1, 1, 1]), 2)
    double = examples.take([5, 0, 1, 2, 3, 4, 6, 7, 8])
    assert quality(double, Split(split.own_N, 2))[1] == [(0, 0, 1), (0, 1, 8)]


def test_a_sample_is_measured_without_replayed_rows(shared):
    examples, split = shared
    points = np.zeros((3, 2), np.float32)
    points[:, 0] = 1
    points[2] = [0, 1]
    found, _ = quality(examples, split, sampled=(np.array([0, 5, 8]), points))
    assert found["similarity"] == {"of": "tf-idf", "rows": 2, "within": None, "across": 1.0,
                                   "portions": [[None, 1.0], [1.0, None]]}  # fmt: skip


@pytest.mark.parametrize(("sources", "more", "message"), [
    (["nowhere"], {}, "no row is replayed: there are 0 of nowhere"),
    (["s0"], {"fraction": 0.01}, "no row is replayed: there are 2 of s0"),
    ([], {"rows": 6}, "none is left to disperse"),
])  # fmt: skip
def test_what_cannot_be_replayed_is_told(make_examples, sources, more, message):
    with pytest.raises(DataError, match=message):
        replayed(make_examples(rows_of(range(6))), sources, 1, **more)
