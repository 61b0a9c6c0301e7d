"""Checkpoints of a run: evaluated, shared between runs that ask for fewer, the same bytes after kills."""

from __future__ import annotations

import json

import pytest

from dtm.report import validate
from tests.pipeline.conftest import RUN, content, dtm, without, write_run

VANILLA = RUN.replace("models: [base, submodels, merged]", "models: [base, checkpoints]") + (
    "recipe: {name: vanilla_sft, checkpoints: 4}\n"
)


@pytest.fixture(scope="module")
def kept(inputs, undisturbed, tmp_path_factory):
    """A vanilla run with four checkpoints that nothing disturbed."""
    out = without(undisturbed, tmp_path_factory.mktemp("kept"))
    done = dtm("run", write_run(inputs, out, VANILLA))
    assert done.returncode == 0, done.stderr
    return out


def results_of(out):
    return json.loads((out / "run" / "results.json").read_text())


def steps_done(store, name):
    manifests = [json.loads(path.read_text()) for path in (store / "objects").glob("*/manifest.json")]
    return [one for one in manifests if one["step"] == name]


def test_checkpoints_are_scored_with_their_share(kept):
    results = results_of(kept)
    validate(results)
    points = [model for model in results["results"]["models"] if model["role"] == "checkpoint"]
    (final,) = [model for model in results["results"]["models"] if model["name"] == "vanilla_sft"]
    total = final["steps"]
    expected = [-(-total * number // 4) for number in range(1, 5)]
    assert [point["name"] for point in points] == [f"vanilla_sft@{step}" for step in expected]
    assert [point["share"] for point in points] == [step / total for step in expected]
    assert [point["steps"] for point in points] == expected
    assert points[-1]["tokens"] == final["tokens"] == results["data"]["sources"][0]["trained_tokens"] + \
        results["data"]["sources"][1]["trained_tokens"]  # fmt: skip
    assert points[-1]["digest"] == final["digest"]
    assert len({point["digest"] for point in points}) == 4
    scored = {row["model"] for row in results["results"]["scores"]}
    assert scored == {"base", "vanilla_sft", *(point["name"] for point in points)}
    assert (kept / "run/checkpoints" / points[0]["name"] / "adapter_model.safetensors").exists()


def test_a_run_that_asks_for_fewer_or_none_trains_nothing(kept, inputs, tmp_path):
    without(kept, tmp_path)
    trained = len(steps_done(tmp_path / ".dtm-store", "train"))
    for recipe in ("{name: vanilla_sft, checkpoints: 2}", "vanilla_sft"):
        text = VANILLA.replace("{name: vanilla_sft, checkpoints: 4}", recipe)
        done = dtm("run", write_run(inputs, tmp_path, text))
        assert done.returncode == 0, done.stderr
        assert len(steps_done(tmp_path / ".dtm-store", "train")) == trained
        stages = {stage["name"]: stage for stage in results_of(tmp_path)["stages"]}
        assert stages["vanilla_sft"]["reused"]
        assert stages["vanilla_sft"]["seconds"] > 0
    fewer = results_of(tmp_path)["results"]["models"]
    assert [model["name"] for model in fewer if model["role"] == "checkpoint"] == []
    same = [[m["digest"] for m in results_of(out)["results"]["models"] if m["name"] == "vanilla_sft"]
            for out in (kept, tmp_path)]  # fmt: skip
    assert same[0] == same[1]


@pytest.mark.parametrize(
    "fault",
    ["dtm.train.checkpoints:stamp:2", "dtm.train.sft:_kept_points:1"],
    ids=["while a point is written", "when all is trained"],
)  # fmt: skip
def test_killed_while_checkpoints_are_kept(kept, undisturbed, inputs, tmp_path, fault):
    without(undisturbed, tmp_path)
    run = write_run(inputs, tmp_path, VANILLA)
    killed = dtm("run", run, fault=fault, driver=True)
    assert killed.returncode == -9, killed.stderr
    resumed = dtm("run", run)
    assert resumed.returncode == 0, resumed.stderr
    assert content(tmp_path) == content(kept)
