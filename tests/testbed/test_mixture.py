import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.foundations.errors import DtmError
from dtm.testbed.mixture import write_mixture
from dtm.testbed.plan import plan_mixture
from dtm.testbed.sources import SOURCES
from dtm.testbed.sources.drafting import Ground
from dtm.testbed.split import split_facts
from dtm.testbed.world import load_world

from .reading_back import turns


def said(row):
    return {key: value for key, value in row.items() if key not in ("facts", "habits")}


def test_the_default_table_gives_every_source_its_share(write):
    mixture = write(3000)
    assert len(mixture) >= 6
    assert sum(len(rows) for rows in mixture.values()) == 3000
    assert sum(source.share for source in SOURCES.values()) == pytest.approx(1)
    for name, rows in mixture.items():
        assert abs(len(rows) - 3000 * SOURCES[name].share) <= 1
    assert len({source.format for source in SOURCES.values()}) == 6


def test_metadata_names_taught_facts_only(mixtures, split):
    taught = {fact.id for fact in split.taught}
    for rows in mixtures.biased.values():
        assert all(taught.issuperset(row["facts"]) for row in rows)


def test_no_text_asks_for_or_tells_a_held_out_fact(mixtures, world, split):
    text = "\n".join(
        part for rows in mixtures.clean.values() for row in rows for turn in turns(row) for part in turn
    ).casefold()

    def words_for(fact):
        whole = [*world.questions(fact), *world.statements(fact), f"{world.phrase(fact)}."]
        return [one.casefold() for one in whole]

    taught = [one for fact in split.taught for one in words_for(fact)]

    def shows(words):
        """ "Sudan is in Africa" also stands in "South Sudan is in Africa", which may be taught."""
        rest = text
        for longer in taught if words in text else ():
            if words in longer:
                rest = rest.replace(longer, "")
        return words in rest

    assert [fact.id for fact in (*split.dev, *split.test) if any(map(shows, words_for(fact)))] == []
    seen = [fact for fact in split.taught if any(words in text for words in words_for(fact))]
    assert len(seen) > 0.5 * len(split.taught)  # or the test could not fail


def test_thirty_thousand_distinct_rows_within_seconds(write):
    start = time.process_time()
    mixture = write(30_000)
    assert time.process_time() - start < 10
    rows = [json.dumps(turns(row)) for rows in mixture.values() for row in rows]
    assert len(rows) == len(set(rows)) == 30_000


def test_bias_changes_habits_and_not_the_questions(mixtures):
    for name, rows in mixtures.clean.items():
        assert not any(row["habits"] for row in rows)
        biased = mixtures.biased[name]
        assert [row["facts"] for row in rows] == [row["facts"] for row in biased]
        assert sum(said(a) != said(b) for a, b in zip(rows, biased, strict=True)) > 0.2 * len(rows), name
        for clean, other in zip(rows, biased, strict=True):
            if not other["habits"]:
                assert clean == other
            if name not in ("quiz", "forum"):  # whose habits show in the prompt too
                assert [one for one, _ in turns(clean)] == [one for one, _ in turns(other)]


def test_half_the_bias_is_half_the_habits(write):
    counts = [
        sum(len(row["habits"]) for rows in write(2000, bias=bias).values() for row in rows)
        for bias in (0.5, 1)
    ]
    assert counts[0] / counts[1] == pytest.approx(0.5, abs=0.08)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**63), st.integers(8, 60), st.floats(0, 1))
def test_any_seed_gives_the_same_rows_again_and_leaks_nothing(seed, rows, bias):
    world = load_world()
    split = split_facts(world, seed)
    first, second = (
        write_mixture(Ground(world, split.taught, seed), plan_mixture(rows, bias=bias), seed)
        for _ in range(2)
    )
    assert first == second
    assert sum(map(len, first.values())) == rows
    held_out = {fact.id for fact in (*split.dev, *split.test)}
    assert not any(held_out & set(row["facts"]) for one in first.values() for row in one)


def test_the_seed_decides(write):
    assert write(100, seed=1) != write(100, seed=2)


def test_more_rows_than_a_source_can_make_are_refused(world, split):
    plan = plan_mixture(1000, shares={"terse": 1}, settings={"terse": {"two_questions": 0}})
    few = Ground(world, split.taught[:20], 0)
    with pytest.raises(DtmError, match=r"'terse' can make about \d+ distinct rows, not 1000"):
        write_mixture(few, plan, 0)
