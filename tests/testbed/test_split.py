from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.foundations.errors import ConfigError
from dtm.testbed.split import part_of_problem, split_facts
from dtm.testbed.world import load_world


@settings(max_examples=15)
@given(st.integers(0, 2**63), st.sampled_from([(0.5, 0.15), (0.2, 0.3), (0.8, 0.1)]))
def test_parts_are_disjoint_complete_and_stratified(seed, fractions):
    world = load_world()
    taught, dev = fractions
    split = split_facts(world, seed, taught=taught, dev=dev)
    found = Counter(fact.id for part in (split.taught, split.dev, split.test) for fact in part)
    assert set(found) == {fact.id for fact in world.facts}
    assert max(found.values()) == 1
    whole = Counter(fact.attribute for fact in world.facts)
    for part, fraction in ((split.taught, taught), (split.dev, dev), (split.test, 1 - taught - dev)):
        counts = Counter(fact.attribute for fact in part)
        for attribute, size in whole.items():
            assert abs(counts[attribute] - fraction * size) <= 1.001, attribute


def test_the_seed_decides(world):
    assert split_facts(world, 1) == split_facts(world, 1)
    assert set(split_facts(world, 1).taught) != set(split_facts(world, 2).taught)


@pytest.mark.parametrize(("taught", "dev"), [(0, 0.5), (1, 0.1), (0.5, 0.5), (0.5, 0), (float("nan"), 0.1)])
def test_an_empty_part_is_refused(world, taught, dev):
    with pytest.raises(ConfigError, match="leave a part empty"):
        split_facts(world, 0, taught=taught, dev=dev)


def test_made_problems_fall_into_parts_by_their_shares():
    parts = Counter(part_of_problem(0, str(number)) for number in range(5000))
    assert abs(parts["dev"] / 5000 - 0.1) < 0.02
    assert abs(parts["test"] / 5000 - 0.2) < 0.02
    assert part_of_problem(0, "7+8") == part_of_problem(0, "7+8")
