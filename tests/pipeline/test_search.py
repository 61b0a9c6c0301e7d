"""Strategies on functions with known optima, the journal after a kill, and searches over real merges in memory."""

from __future__ import annotations

import json
from itertools import pairwise
from math import comb

import pytest
import torch

from dtm.foundations.errors import ModelError
from dtm.foundations.registry import registry
from dtm.merge import merge_models
from dtm.pipeline.scoring import in_memory
from dtm.pipeline.search import STRATEGIES, Spent, Trail, search, uniform_grid
from tests.merge.models import read_model
from tests.pipeline.submodels import rows_file, trained, worsened
from tests.tiny import tiny_model

OPTIMUM = (0.7, 0.2, 0.4)


def bowl(weights):
    return {"score": -sum((weight - best) ** 2 for weight, best in zip(weights, OPTIMUM, strict=True))}


def trail(folder, measured=bowl, *, budget=40, scale_free=False):
    return Trail(folder / "journal.jsonl", budget, scale_free, measured, lambda data: None)


def test_cma_es_closes_in_on_the_optimum(tmp_path):
    one = trail(tmp_path, budget=150)
    one.follow(STRATEGIES["cma_es"], 3, 0)
    assert one.best()["weights"] == pytest.approx(OPTIMUM, abs=0.02)
    assert all(0 <= weight <= 1 for entry in one.entries for weight in entry["weights"])


def test_greedy_takes_the_best_alone_and_whoever_does_not_lower_it(tmp_path):
    """Alone: 2, 3, 1. Then 1 with 0 is better, and with 2 worse: found by hand from algorithm 1 of the paper."""
    table = {(1, 0, 0): 2, (0, 1, 0): 3, (0, 0, 1): 1, (0.5, 0.5, 0): 4}
    one = trail(tmp_path, lambda weights: {"score": table.get(weights, 0)}, scale_free=True)
    one.follow(STRATEGIES["greedy"], 3, 0)
    assert one.best()["weights"] == [0.5, 0.5, 0]
    asked = [tuple(entry["weights"]) for entry in one.entries]
    third = round(1 / 3, 6)
    assert asked == [
        (third,) * 3,
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
        (0.5, 0.5, 0),
    ]  # the last trial is uniform again


@pytest.mark.parametrize(("count", "budget"), [(2, 3), (3, 11), (4, 40), (5, 6)])
def test_the_grid_is_the_finest_that_the_budget_holds(count, budget):
    asked = []
    uniform_grid(lambda weights: asked.append(tuple(weights)), count, budget, 0)
    parts = next(n for n in range(1, 99) if comb(n + count, count - 1) > budget - 1)
    assert len(set(asked)) == len(asked) == comb(parts + count - 1, count - 1) <= budget - 1
    for point in asked:
        assert sum(point) == pytest.approx(1)
        assert all(weight * parts == pytest.approx(round(weight * parts)) for weight in point)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("scale_free", [True, False])
def test_no_strategy_overspends_or_ends_below_uniform(tmp_path, strategy, scale_free):
    one = trail(tmp_path, budget=9, scale_free=scale_free)
    one.follow(STRATEGIES[strategy], 3, 5)
    assert len(one.entries) <= 9
    assert one.best()["score"] >= bowl([1 / 3] * 3)["score"]
    if scale_free:
        assert all(sum(entry["weights"]) == pytest.approx(1, abs=3e-6) for entry in one.entries)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kills", [1, 4])
def test_after_kills_the_path_is_the_same_and_nothing_is_measured_twice(tmp_path, strategy, kills):
    (tmp_path / "whole").mkdir()
    whole = trail(tmp_path / "whole", budget=12)
    whole.follow(STRATEGIES[strategy], 3, 1)
    measured, killed = [], 0

    def deadly(weights):
        nonlocal killed
        if killed < kills and len(measured) == 2 * killed + 1:
            killed += 1
            raise KeyboardInterrupt
        measured.append(weights)
        return bowl(weights)

    while True:
        resumed = trail(tmp_path, deadly, budget=12)
        try:
            resumed.follow(STRATEGIES[strategy], 3, 1)
            break
        except KeyboardInterrupt:
            with open(tmp_path / "journal.jsonl", "a") as file:
                file.write('{"weights": [0.1, 0.')  # the line that the kill cut short
    assert killed > 0
    assert resumed.entries == whole.entries
    assert len(measured) == len(set(measured)) == len(whole.entries)
    assert (tmp_path / "journal.jsonl").read_bytes() == (tmp_path / "whole" / "journal.jsonl").read_bytes()


def test_a_journal_of_another_path_is_not_believed(tmp_path):
    lie = {"weights": [0.9, 0.1, 0.0], "score": 99.0}
    (tmp_path / "journal.jsonl").write_text(json.dumps(lie) + "\n")
    one = trail(tmp_path, budget=5)
    one.follow(STRATEGIES["greedy"], 3, 0)
    assert max(entry["score"] for entry in one.entries) < 0


def test_a_merge_that_is_not_finite_is_the_worst_candidate_and_other_errors_come_through(tmp_path):
    def broken(weights):
        if weights[0] > 0.5:
            raise ModelError("the loss of row 1 is not finite")
        return bowl(weights)

    one = trail(tmp_path, broken)
    one.follow(STRATEGIES["greedy"], 3, 0)
    assert one.entries[1]["score"] is None
    assert "not finite" in one.entries[1]["why"]
    assert one.best()["score"] is not None

    def wrong(weights):
        raise ModelError("the model cannot be loaded")

    (tmp_path / "other").mkdir()
    with pytest.raises(ModelError, match="cannot be loaded"):
        trail(tmp_path / "other", wrong).score([1.0, 1.0])
    hopeless = trail(tmp_path / "other", lambda weights: broken([1.0]))
    hopeless.score([1.0, 1.0])
    with pytest.raises(ModelError, match="no candidate"):
        hopeless.best()


def test_the_budget_counts_distinct_candidates(tmp_path):
    one = trail(tmp_path, budget=2, scale_free=True)
    one.score([1, 1, 1])
    one.score([2, 2, 2])
    one.score([1, 0, 0])
    with pytest.raises(Spent):
        one.score([0, 1, 0])
    assert [entry["weights"] for entry in one.entries] == [[0.333333] * 3, [1, 0, 0]]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """(base, a sub-model that learnt the rows, one that noise made worse; the same two as adapters; the rows)."""
    folder = tmp_path_factory.mktemp("parts")
    base = tiny_model(folder / "base", seed=3)
    rows = rows_file(folder / "rows.arrow")
    dense = [trained(base, rows, folder / "good"), worsened(base, folder / "harmful")]
    lora = [
        trained(base, rows, folder / "good-lora", lora=True),
        worsened(base, folder / "harmful-lora", lora=True),
    ]
    return {"base": base, "rows": rows, "dense": dense, "lora": lora}


def merge_of(parts, kind="dense", method="linear", settings=None, **more):
    bound = registry("merge").bind(method, settings or {})
    return {"base": str(parts["base"]), "models": [str(one) for one in parts[kind]], "method": method,
            "settings": bound.settings, "space": "weight", "dtype": None, "statistics": [], "seed": 7, "threads": 1,
            **more}  # fmt: skip


def loading_of(parts, dtype="auto"):
    return {"model": str(parts["base"]), "adapter": None, "dtype": dtype, "device": "cpu", "threads": 1}


@pytest.mark.parametrize(
    ("kind", "method", "settings", "more"),
    [
        ("dense", "linear", {}, {}),
        ("lora", "linear", {}, {}),
        ("lora", "linear", {}, {"space": "adapter"}),
        ("lora", "lora_svd", {"rank": 3}, {}),
        ("dense", "ties", {"scope": "model"}, {}),
        ("lora", "dare_ties", {"density": 0.5}, {}),
        ("dense", "slerp", {}, {}),
        ("dense", "linear", {}, {"dtype": "bfloat16"}),
    ],
)
def test_a_candidate_in_memory_has_the_bits_of_the_merged_folder(
    parts, tmp_path, kind, method, settings, more
):
    """Also after another candidate was there before, and with more threads on disk."""
    job, weights = merge_of(parts, kind, method, settings, **more), [0.3, 0.6]
    bound = registry("merge").bind(method, settings)
    merge_models(base=parts["base"], models=parts[kind], output=tmp_path / "out", weights=weights, method=bound,
                 seed=7, threads=2, space=job["space"], dtype=job["dtype"])  # fmt: skip
    written = read_model(tmp_path / "out")
    with in_memory(job, loading_of(parts, job["dtype"] or "auto")) as merged:
        merged.write([1.0, 0.1])
        merged.write(weights)
        found = {name: merged.targets[name].detach().clone() for name in written}
    base = read_model(parts["base"])
    assert any(not torch.equal(found[name].float(), base[name].float()) for name in found)
    for name, tensor in written.items():
        assert torch.equal(found[name], tensor), name


def test_the_base_is_the_base_again_after_a_search(parts):
    from dtm.evaluate.loading import model_and_tokenizer

    with in_memory(merge_of(parts), loading_of(parts)) as merged:
        merged.write([0.0, 1.0])
    model, _ = model_and_tokenizer(loading_of(parts))
    base = read_model(parts["base"])
    assert all(torch.equal(weight, base[name]) for name, weight in model.named_parameters())


@pytest.mark.parametrize("kind", ["dense", "lora"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_planted_harmful_sub_model_gets_no_weight(parts, tmp_path, strategy, kind):
    scoring = {"loading": loading_of(parts), "tasks": [], "formats": ["raw"], "examples": str(parts["rows"]),
               "batch_size": 8, "seed": 0}  # fmt: skip
    job = {"search": strategy, "budget": 24, "seed": 0, "scale_free": True, "merge": merge_of(parts, kind),
           "scoring": scoring, "output": str(tmp_path), "scratch": str(tmp_path / "scratch")}  # fmt: skip
    (tmp_path / "scratch").mkdir()
    told = []
    facts = search(job, told.append)
    assert facts["weights"][1] < 0.1
    assert facts["loss"] == -facts["score"] < -facts["uniform"]
    path = json.loads((tmp_path / "path.json").read_text())
    assert len(path) == facts["candidates"] == told[-1]["done"]
    assert all(one["done"] + 1 == other["done"] for one, other in pairwise(told))
