"""A study as a whole: what it writes, that arms share what they share, that kills and failures do no harm."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest

from tests.study.conftest import STUDY, dtm, write_study


def study_of(out):
    return json.loads((out / "study" / "study.json").read_text())


def without_timing(results):
    return {**results, "timing": None, "command": None}


def steps_in(out):
    manifests = (out / ".dtm-store" / "objects").glob("*/manifest.json")
    return Counter(json.loads(path.read_text())["step"] for path in manifests)


def test_study_json_holds_every_arm_under_every_seed(undisturbed):
    results = study_of(undisturbed)
    arms = {arm["name"]: arm for arm in results["arms"]}
    assert results["seeds"] == [0, 1]
    assert {name: arm["seeds"] for name, arm in arms.items()} == {
        "vanilla": [0, 1],
        "dtm": [0, 1],
        "dtm-clusters": [0],
    }
    assert {name: (arm["claim"], arm["screening"]) for name, arm in arms.items()} == {
        "vanilla": (True, False), "dtm": (True, False), "dtm-clusters": (False, True),
    }  # fmt: skip
    assert arms["dtm"]["grid"]["tuned_as"] == arms["dtm-clusters"]["grid"]["tuned_as"] == "dtm"
    assert arms["dtm"]["steps"] == 2 * arms["vanilla"]["steps"] == 4
    scores = [point["score"] for point in arms["dtm"]["grid"]["points"]]
    assert arms["dtm"]["grid"]["chosen"] == scores.index(max(scores))
    assert arms["dtm"]["point"] == arms["dtm"]["grid"]["points"][arms["dtm"]["grid"]["chosen"]]["values"]


def test_arms_that_were_only_screened_enter_no_family(undisturbed):
    rows = study_of(undisturbed)["comparisons"]
    assert {row["verdict"] for row in rows if row["arm"] == "dtm-clusters"} == {"screened"}
    assert all((row["p_holm"] is None) == (row["arm"] == "dtm-clusters") for row in rows)


def test_items_hold_what_the_scores_are_made_of(undisturbed):
    import pyarrow.parquet as parquet

    table = parquet.read_table(undisturbed / "study" / "items.parquet").to_pylist()
    for arm in study_of(undisturbed)["arms"]:
        for seed, value in arm["scores"][0]["by_seed"].items():
            found = [row["value"] for row in table if row["arm"] == arm["name"] and row["seed"] == int(seed)]
            assert len(found) == 12
            assert sum(found) / 12 == pytest.approx(value)


def test_arms_share_the_steps_that_they_share(undisturbed):
    done = steps_in(undisturbed)
    # three seeds (0, 1 and the grid's 7) and nothing is loaded, rendered or prepared twice
    assert (done["prepare_base"], done["load"], done["render"]) == (1, 3, 3)
    assert done["disperse"] == 4  # dtm under three seeds, dtm-clusters under one
    assert (
        done["train"] == (2 + 2) + (2 + 2) * 2 + 2
    )  # grid and seeds of vanilla, twice as many of dtm, dtm-clusters
    assert done["evaluate"] == 1 + 2 + 2 + 1  # the base once; runs that tune meet no test item


def test_a_second_study_does_no_work_and_writes_the_same(undisturbed, inputs):
    before, bytes_before = study_of(undisturbed), (undisturbed / "study" / "items.parquet").read_bytes()
    counted = steps_in(undisturbed)
    done = dtm("study", undisturbed / "tiny.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert without_timing(json.loads(done.stdout)) == without_timing(before)
    assert (undisturbed / "study" / "items.parquet").read_bytes() == bytes_before
    assert steps_in(undisturbed) == counted
    planned = json.loads(dtm("study", undisturbed / "tiny.yaml", "--dry-run", "--json").stdout)
    assert planned["totals"]["redo"] == 0
    assert planned["totals"]["runs"] == 9


def test_the_page_can_be_drawn_again(undisturbed):
    page = undisturbed / "study" / "report.html"
    before = page.read_bytes()
    page.unlink()
    done = dtm("report", undisturbed / "study", folder=undisturbed)
    assert done.returncode == 0, done.stderr
    assert page.read_bytes() == before


def test_a_killed_study_goes_on_to_the_same_result(undisturbed, inputs, tmp_path):
    shutil.copytree(undisturbed / ".dtm-store", tmp_path / ".dtm-store")
    for manifest in (tmp_path / ".dtm-store" / "objects").glob("*/manifest.json"):
        if json.loads(manifest.read_text())["step"] in ("train", "merge", "evaluate", "heldout"):
            shutil.rmtree(manifest.parent)
    path = write_study(inputs, tmp_path)
    killed = dtm("study", path, fault="dtm.train.callbacks:Watch.on_step_end:6")
    assert killed.returncode == -9
    assert not (tmp_path / "study" / "study.json").exists()
    resumed = dtm("study", path)
    assert resumed.returncode == 0, resumed.stderr
    assert without_timing(study_of(tmp_path)) == without_timing(study_of(undisturbed))
    items = "study/items.parquet"
    assert (tmp_path / items).read_bytes() == (undisturbed / items).read_bytes()


def test_a_run_that_fails_is_marked_and_the_others_go_on(undisturbed, inputs, tmp_path):
    shutil.copytree(undisturbed / ".dtm-store", tmp_path / ".dtm-store")
    # There are fewer rows than portions, which shows once they are read.
    text = STUDY.replace("seeds: [0], grid: dtm", "disperse.k: 1000, grid: false")
    done = dtm("study", write_study(inputs, tmp_path, text))
    assert done.returncode == 1
    assert "2 of 2 runs failed" in done.stdout
    results = study_of(tmp_path)
    arms = {arm["name"]: arm for arm in results["arms"]}
    assert [failure["seed"] for failure in arms["dtm-clusters"]["failures"]] == [0, 1]
    assert "cannot fill 1000 portions" in arms["dtm-clusters"]["failures"][0]["error"]
    assert not arms["dtm-clusters"]["claim"]
    before = study_of(undisturbed)
    assert arms["dtm"] == before["arms"][1]


def test_only_one_arm_runs_and_the_others_keep_what_they_had(undisturbed, inputs, tmp_path):
    shutil.copytree(undisturbed / ".dtm-store", tmp_path / ".dtm-store")
    path = write_study(inputs, tmp_path)
    done = dtm("study", path, "--only", "vanilla")
    results = study_of(tmp_path)
    assert {arm["name"]: arm["seeds"] for arm in results["arms"]} == {
        "vanilla": [0, 1],
        "dtm": [],
        "dtm-clusters": [],
    }
    assert done.returncode == 1
    assert dtm("study", path, "--only", "dtm", "--only", "dtm-clusters").returncode == 0
    assert without_timing(study_of(tmp_path)) == without_timing(study_of(undisturbed))
    wrong = dtm("study", path, "--only", "dmt")
    assert wrong.returncode == 2
    assert "Did you mean 'dtm'?" in wrong.stderr
