"""What every dispersing method must hold. A new method adds one row to TABLE."""

import json

import numpy as np
import pytest

from dtm.disperse import assign, needed
from dtm.foundations.registry import registry
from dtm.foundations.signals.grouped import Grouped

SOURCES = 12
TABLE = {
    # method: the settings to try, and in what portions may differ by one family at most
    "random": [({}, "families rows")],
    "stratified": [
        ({}, "families"),
        ({"by": "length"}, "families"),
        ({"by": ["source", "score"], "lengths": 3}, "families"),
    ],
    "by_source": [({}, ""), ({"balance": "tokens"}, "")],
    "by_length": [({}, ""), ({"of": "response", "balance": "tokens"}, "")],
    "by_difficulty": [({}, ""), ({"by": "score", "balance": "tokens"}, "")],
    "kmeans": [
        ({"restarts": 2}, "rows"),
        ({"restarts": 2, "balance": "tokens"}, "tokens"),
        ({"balanced": False, "restarts": 2}, ""),
    ],
    "hierarchical": [({"restarts": 1}, "rows"), ({"restarts": 1, "balance": "tokens"}, "tokens")],
    "mini_batch": [({"batch_size": 40}, "rows"), ({"balance": "tokens", "epochs": 1}, "tokens")],
    "birch": [({"restarts": 1}, "rows"), ({"restarts": 1, "balance": "tokens"}, "tokens")],
    "topic": [({}, "rows"), ({"balance": "tokens", "on": "instruction"}, "tokens")],
    "gradient": [({}, ""), ({"balance": "rows", "centre": False}, ""), ({"sources": "discovered"}, "")],
    "gradient_kmeans": [
        ({"restarts": 2}, "rows"),
        ({"restarts": 2, "balance": "tokens", "centre": False}, "tokens"),
        ({"balanced": False, "restarts": 2}, ""),
    ],
    "loss_profile": [
        ({"restarts": 2}, "rows"),
        ({"restarts": 2, "balance": "tokens"}, "tokens"),
        ({"balanced": False, "restarts": 2}, ""),
    ],
}
CASES = [(name, settings, even) for name, tried in TABLE.items() for settings, even in tried]
cases = pytest.mark.parametrize(("name", "settings", "even"), CASES)
settled = {"by_source", "by_length", "by_difficulty", "topic", "gradient"}  # draw nothing, of few rows
whole_sources = {"by_source", "gradient"}  # never part them


@pytest.fixture
def world(make_examples):
    """36 families of 1 to 3 rows from 12 sources, shuffled, rendered, each with a score in its meta."""
    generator = np.random.default_rng(5)
    families = generator.permutation(np.repeat(np.arange(36), generator.integers(1, 4, 36)))
    rows = [
        {
            "family": f"f{family}",
            "source": f"s{family % SOURCES:02}",
            "meta": json.dumps({"score": family % 7}),
        }
        for family in families.tolist()
    ]
    lengths = generator.integers(2, 9, len(rows)).tolist()
    return make_examples(rows, tokens=[(length, 1 + length // 2) for length in lengths]), families


def signals_of(families, seed=0):
    """Every signal that a method may need, equal in all rows of a family."""
    generator = np.random.default_rng(seed)
    count = families.max() + 1
    return {
        "embedding": generator.normal(size=(count, 5))[families],
        "loss": generator.random(count)[families],
        "gradient": generator.normal(size=(count, 6))[families],
        "loss_profile": generator.random((count, 8))[families],
        "source_gradient": Grouped(families % SOURCES, generator.normal(size=(SOURCES, 9))),
        "cluster_gradient": Grouped(
            families % 6 * 2, generator.normal(size=(SOURCES, 9))
        ),  # half of them empty
    }


def run(name, settings, examples, k, signals, seed=3):
    bound = registry("disperse").bind(name, settings)
    return assign(bound, examples, k, seed, {one: signals[one] for one in needed(bound)})


def fitting(name, ks, families, sources=SOURCES):
    """Of these numbers of portions, those that the method can fill."""
    if name == "gradient":
        return [k for k in ks if k <= sources // 2 and not k & (k - 1)]  # half of them are clusters
    return [k for k in ks if k <= (sources if name == "by_source" else families)]


def test_the_table_names_every_method():
    assert set(TABLE) == set(registry("disperse"))


@cases
def test_every_k_fills_its_portions_and_keeps_families_whole(name, settings, even, world):
    examples, families = world
    for k in fitting(name, (1, 2, 3, 4, 5, 7, 12, 17, 25, 35, 36), 36):
        portions = run(name, settings, examples, k, signals_of(families))
        assert portions.dtype == np.int64
        assert set(portions) == set(range(k))
        pairs = set(zip(families, portions, strict=True))
        assert len(pairs) == 36  # no family in two portions
        tokens = examples.token_counts()[0]
        weights = {
            "families": 1 / np.bincount(families)[families],
            "rows": np.ones(len(families)),
            "tokens": tokens,
        }
        for what in even.split():
            largest = np.bincount(families, weights=weights[what]).max()
            assert np.ptp(np.bincount(portions, weights=weights[what])) <= largest + 1e-9


@cases
def test_the_same_seed_gives_the_same_portions(name, settings, even, world):
    examples, families = world
    once = run(name, settings, examples, 4, signals_of(families))
    assert (once == run(name, settings, examples, 4, signals_of(families))).all()


@cases
def test_the_order_of_rows_inside_families_does_not_matter(name, settings, even, world):
    examples, families = world
    first = {family: place for place, family in reversed(list(enumerate(families)))}
    later = [place for place in range(len(families)) if first[families[place]] != place]
    order = np.concatenate([sorted(first.values()), np.random.default_rng(2).permutation(later)]).astype(int)
    shuffled = run(name, settings, examples.take(order), 4, signals_of(families[order]))
    assert (shuffled == run(name, settings, examples, 4, signals_of(families))[order]).all()


@cases
def test_rows_that_are_all_alike_fill_every_portion(name, settings, even, make_examples):
    """Only duplicates, with empty responses and nothing in the embedding: no portion stays empty."""
    alike = {"source": "a", "instruction": "x", "response": "", "meta": '{"score": 1}'}
    rows = [{**alike, "source": f"s{n % 5}"} if name in whole_sources else alike for n in range(23)]
    zeros = np.zeros((23, 4))
    grouped = Grouped(np.arange(23) % 5, zeros[:5])
    signals = {"embedding": zeros, "loss": np.zeros(23), "gradient": zeros, "loss_profile": zeros,
               "source_gradient": grouped, "cluster_gradient": grouped}  # fmt: skip
    for k in fitting(name, (1, 2, 3, 5, 23), 23, sources=5):
        portions = run(name, settings, make_examples(rows, tokens=[(3, 1)] * 23), k, signals)
        assert set(portions) == set(range(k))
        assert not even or np.ptp(np.bincount(portions)) <= 1


@cases
def test_one_giant_row_leaves_room_for_the_others(name, settings, even, make_examples):
    rows = [{"source": f"s{n % 6}", "meta": json.dumps({"score": n})} for n in range(30)]
    examples = make_examples(rows, tokens=[(100_000, 99_000) if n == 13 else (5, 2) for n in range(30)])
    for k in fitting(name, (2, 4, 6), 30):
        assert set(run(name, settings, examples, k, signals_of(np.arange(30)))) == set(range(k))


@cases
def test_another_seed_gives_other_portions_where_something_is_drawn(name, settings, even, world):
    examples, families = world
    answers = {run(name, settings, examples, 4, signals_of(families), seed).tobytes() for seed in range(6)}
    assert (len(answers) == 1) == (name in settled)
