"""What every dispersing method must hold. A new method adds one row to TABLE."""

import numpy as np
import pytest

from dtm.disperse import assign
from dtm.foundations.registry import registry

SOURCES = 12
TABLE = {
    # method: the settings to try, and whether portions must differ by at most one family
    "random": [({}, True)],
    "by_source": [({}, False), ({"balance": "tokens"}, False)],
    "kmeans": [({"restarts": 2}, True), ({"balanced": False, "restarts": 2}, False)],
}
CASES = [(name, settings, even) for name, tried in TABLE.items() for settings, even in tried]
cases = pytest.mark.parametrize(("name", "settings", "even"), CASES)


@pytest.fixture
def world(make_examples):
    """36 families of 1 to 3 rows from 12 sources, shuffled, rendered, with an embedding of 5 dimensions."""
    generator = np.random.default_rng(5)
    families = generator.permutation(np.repeat(np.arange(36), generator.integers(1, 4, 36)))
    rows = [{"family": f"f{family}", "source": f"s{family % SOURCES:02}"} for family in families]
    examples = make_examples(rows, tokens=[(int(n), 1) for n in generator.integers(2, 9, len(rows))])
    return examples, families, generator.normal(size=(36, 5))[families]


def run(name, settings, examples, k, embedding, seed=3):
    return assign(registry("disperse").bind(name, settings), examples, k, seed, {"embedding": embedding})


def test_the_table_names_every_method():
    assert set(TABLE) == set(registry("disperse"))


@cases
def test_every_k_fills_its_portions_and_keeps_families_whole(name, settings, even, world):
    examples, families, embedding = world
    for k in range(1, (SOURCES if name == "by_source" else 36) + 1):
        portions = run(name, settings, examples, k, embedding)
        assert portions.dtype == np.int64
        assert set(portions) == set(range(k))
        pairs = set(zip(families, portions, strict=True))
        assert len(pairs) == 36  # no family in two portions
        sizes = np.bincount([portion for _, portion in pairs])
        assert not even or np.ptp(sizes) <= 1


@cases
def test_the_same_seed_gives_the_same_portions(name, settings, even, world):
    examples, _, embedding = world
    once = run(name, settings, examples, 4, embedding)
    assert (once == run(name, settings, examples, 4, embedding.copy())).all()


@cases
def test_the_order_of_rows_inside_families_does_not_matter(name, settings, even, world):
    examples, families, _ = world
    embedding = np.random.default_rng(1).normal(size=(36, 5))[families]
    first = {family: place for place, family in reversed(list(enumerate(families)))}
    later = [place for place in range(len(families)) if first[families[place]] != place]
    order = np.concatenate([sorted(first.values()), np.random.default_rng(2).permutation(later)]).astype(int)
    shuffled = run(name, settings, examples.take(order), 4, embedding[order])
    assert (shuffled == run(name, settings, examples, 4, embedding)[order]).all()


@pytest.mark.parametrize(("name", "settings"), [("random", {}), ("kmeans", {"restarts": 1})])
def test_another_seed_gives_other_portions(name, settings, world):
    examples, _, embedding = world
    answers = {run(name, settings, examples, 4, embedding, seed).tobytes() for seed in range(5)}
    assert len(answers) > 1
