"""Times of planned steps: medians of what the store holds of such steps, else a guess that is said to be one."""

from __future__ import annotations

import json

import pytest

from dtm.foundations.store import Step, Store
from dtm.pipeline.rates import CPU, DISK, Rates
from dtm.pipeline.steps import Record

NUMERICS = {"threads": 2, "device": "cpu", "processes": 1}


@pytest.fixture
def known(tmp_path):
    """A store of manifests alone, and a way to put one more into it."""
    store = Store(tmp_path)

    def put(name, seconds, facts, settings, inputs=None, numerics=NUMERICS):
        step = Step(name, settings, inputs or {}, len(list((tmp_path / "objects").iterdir())), numerics)
        folder = tmp_path / "objects" / step.key
        folder.mkdir(parents=True)
        manifest = {**step.fields, "key": step.key, "seconds": seconds, "facts": facts}
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return store, put


def told(store, name, facts, settings, inputs=None, **more):
    record = Record(
        "label", "what", Step(name, settings, inputs or {}, None, NUMERICS), False, facts=facts, planned=True
    )
    return Rates(store, 2, "cpu", **more).seconds(record)


def test_training_goes_by_the_same_base_else_by_any(known):
    store, put = known
    job = {"tokens": 1000}
    assert told(store, "train", job, {"lora": None}, {"base": "a"}) == (None, False)
    put("train", 10.0, {"input_tokens": 100}, {"lora": None}, {"base": "b"})
    put("train", 1.0, {"input_tokens": 100}, {"lora": {"r": 1}}, {"base": "a"})
    put("train", 1.0, {"input_tokens": 100}, {"lora": None}, {"base": "a"}, {**NUMERICS, "threads": 1})
    assert told(store, "train", job, {"lora": None}, {"base": "a"}) == (100.0, False)
    for seconds in (1.0, 2.0, 40.0):
        put("train", seconds, {"input_tokens": 100}, {"lora": None}, {"base": "a"})
    assert told(store, "train", job, {"lora": None}, {"base": "a"}) == (20.0, False)
    assert told(store, "train", job, {"lora": None}, {"base": "a"}, training=500.0) == (2.0, False)


def test_evaluation_goes_by_that_task_and_size_else_by_a_guess(known):
    store, put = known
    settings = {"task": "t", "format": "raw", "batch_size": 8}
    size = {"parameters": 10**6, "asked": 30_000}
    for other in ({**settings, "task": "u"}, {**settings, "batch_size": 4}):
        put("evaluate", 1.0, {"parameters": 10**6}, other)
    put("evaluate", 1.0, {"parameters": 10**9}, settings)
    assert told(store, "evaluate", size, settings) == (2 * 10**6 * 30_000 / (2 * CPU), True)
    for seconds in (5.0, 7.0, 30.0):
        put("evaluate", seconds, {"parameters": 10**6}, settings)
    assert told(store, "evaluate", size, settings) == (7.0, False)


def test_held_out_rows_and_merges_go_by_their_size(known):
    store, put = known
    rows = {"rows": 50, "parameters": 7, "asked": 100}
    assert told(store, "heldout", rows, {}) == (2 * 7 * 100 / (2 * CPU), True)
    put("heldout", 2.0, {"parameters": 7, "sources": {"all": {"rows": 10}}}, {})
    assert told(store, "heldout", rows, {}) == (10.0, False)
    assert told(store, "merge", {"disk": 3e9}, {}) == (3e9 / DISK, True)
    put("merge", 2.0, {"bytes_out": 10**9}, {})
    assert told(store, "merge", {"disk": 3e9}, {}) == (6.0, False)


def test_what_is_not_known_is_not_made_up_and_damage_is_passed_over(known):
    store, _ = known
    (store.root / "objects" / "broken").mkdir()
    (store.root / "objects" / "broken" / "manifest.json").write_text("{")
    assert told(store, "search", {}, {}) == (None, False)
    assert told(store, "mean_score", {}, {}) == (0.0, False)
    assert told(store, "train", {"tokens": 5}, {"lora": None}, {"base": "a"}) == (None, False)
