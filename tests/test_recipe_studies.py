"""The studies of benchmarks/recipes/: arms are checked, items part by the base's loss, tables are of the results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dtm.foundations.yaml import load as load_yaml
from dtm.study.arms import Arms
from dtm.study.checking import check
from dtm.study.file import read
from dtm.study.schema import StudyResults
from dtm.testbed import generate
from tests.test_benchmarks import load

RECIPES = Path(__file__).parent.parent / "benchmarks" / "recipes"
MODULE = load(RECIPES / "table.py")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The studies' files beside a small testbed, its items parted."""
    root = tmp_path_factory.mktemp("recipes")
    folder = root / "benchmarks" / "recipes"
    folder.mkdir(parents=True)
    for path in RECIPES.glob("*.yaml"):
        shutil.copy(path, folder)
    bed = root / "build" / "study" / "clean"
    generate(bed, rows=200, test_items=24, dev_items=12)
    load(RECIPES / "items.py").main(bed)
    for script in ("refine_testbed", "demorecon_testbed"):
        load(RECIPES / f"{script}.py").main(root / "build" / "recipes")
    return root


@pytest.mark.slow
def test_every_arm_is_checked_and_k_may_be_swept_in_one_study(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    for name in MODULE.STUDIES:
        arms = Arms(read(checkout / "benchmarks" / "recipes" / f"{name}.yaml"))
        check(arms)
        assert list(arms.by_name) == [
            arm["name"] for arm in load_yaml(RECIPES / f"{name}.yaml").values["arms"]
        ]
    dual, vanilla = "{name: dual_stage_mixed, specialised: [formatting]}", "vanilla_sft, grid: false"
    sweep = ["grid={over: {recipe.k: [0.0, 0.25]}, seeds: [9]}", "against=vanilla",
             f"arms=[{{name: dual, recipe: {dual}}}, {{name: vanilla, recipe: {vanilla}}}]"]  # fmt: skip
    arms = Arms(read(checkout / "benchmarks" / "recipes" / "dual.yaml", sweep))
    check(arms)
    trials = arms.grid_trials(arms.by_name["dual"])
    assert [arms.run_file(one).config.recipe.own["k"] for one in trials] == [0.0, 0.25]


@pytest.mark.slow
def test_items_part_by_the_loss_of_the_base(checkout):
    folder = checkout / "build" / "study" / "clean" / "benchmarks" / "test"
    for task in ("world_exact_taught", "format"):
        ids = {name: [json.loads(line)["id"] for line in (folder / f"{task}{name}.jsonl").read_text().splitlines()]
               for name in ("", "_easy", "_hard")}  # fmt: skip
        assert sorted(ids["_easy"] + ids["_hard"]) == sorted(ids[""])
        assert len(ids["_hard"]) - len(ids["_easy"]) in (0, 1)


@pytest.mark.parametrize("name", MODULE.done())
def test_tables_are_made_from_their_results(name):
    results = MODULE.read(name)
    StudyResults.model_validate(results)
    text = (RECIPES / "README.md").read_text(encoding="utf-8")
    for table in MODULE.tables(results):
        assert table in text
    asked = {arm["name"] for arm in load_yaml(RECIPES / f"{name}.yaml").values["arms"]}
    assert {arm["name"] for arm in results["arms"]} == asked


@pytest.mark.parametrize("name", MODULE.AGAIN)
def test_differences_from_another_arm_are_of_the_same_runs(name):
    results, first = MODULE.read(name), MODULE.read(MODULE.AGAIN[name])
    StudyResults.model_validate(results)
    assert MODULE.differences(results, results["against"]) in (RECIPES / "README.md").read_text(
        encoding="utf-8"
    )
    assert results["arms"] == first["arms"]


@pytest.mark.parametrize("name", MODULE.real_done())
def test_tables_of_real_rows_are_made_from_their_results(name):
    assert MODULE.real(name) in (RECIPES / "README.md").read_text(encoding="utf-8")
