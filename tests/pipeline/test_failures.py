"""A sub-model that fails for good: the others are kept and the run says how to go on, or the rest is merged."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from dtm.foundations.errors import ConfigError, DtmError, ResourceError, WorkerError
from dtm.foundations.launch.memory import OutOfMemory
from dtm.report import validate
from tests.pipeline.stubbed import COMMAND, K, base_of


def test_the_others_are_kept_and_the_run_says_how_to_go_on(stubbed):
    with pytest.raises(WorkerError) as caught:
        stubbed.run({"submodel-1": "dies"})
    assert sorted(stubbed.attempts) == ["submodel-0", *["submodel-1"] * 3, "submodel-2", "submodel-3"]
    message = caught.value.message
    assert (
        "submodel-1 failed; the other 3 are kept: the worker of submodel-1 died 3 times (signal 9)" in message
    )
    assert message.splitlines()[-1] == "    | what it printed last"
    assert f"Go on with `{COMMAND}`" in message
    assert "-s on_failure=drop" in message
    results = stubbed.run({})
    assert stubbed.attempts == ["submodel-1"]
    assert results["dropped"] == []
    assert len(results["merge"]["weights"]) == K


def test_two_that_fail_are_both_named(stubbed):
    with pytest.raises(
        OutOfMemory, match=r"submodel-1 and submodel-3 failed; the other 2 are kept"
    ) as caught:
        stubbed.run({"submodel-1": "out of memory", "submodel-3": "out of memory"})
    assert stubbed.attempts.count("submodel-1") == stubbed.attempts.count("submodel-3") == 1
    assert caught.value.message.count("gradient_checkpointing") == 1


def test_what_is_dropped_is_not_merged_and_is_said_wherever_the_merge_is_shown(stubbed):
    results = stubbed.run({"submodel-1": "dies"}, "on_failure=drop", "merge.weights=[0.4, 0.1, 0.3, 0.2]")
    validate(results)
    folder = stubbed.folder / "run"
    assert {path.name for path in (folder / "submodels").iterdir()} == {"0", "2", "3"}
    weights = [0.4 / 0.9, 0.3 / 0.9, 0.2 / 0.9]
    np.testing.assert_allclose(results["merge"]["weights"], weights, rtol=1e-12)
    base, merged, adapters = (
        base_of(stubbed),
        load_file(folder / "merged/model.safetensors"),
        stubbed.adapters(0, 2, 3),
    )
    changed = 0
    for name, weight in base.items():
        expected, stem = weight.astype(np.float64), "base_model.model." + name.removesuffix(".weight")
        for share, adapter in zip(weights, adapters, strict=True):
            if f"{stem}.lora_A.weight" in adapter:
                A, B = (adapter[f"{stem}.lora_{side}.weight"].astype(np.float64) for side in "AB")
                expected, changed = expected + share * (8 / 4) * (B @ A), changed + 1
        np.testing.assert_allclose(merged[name], expected, rtol=2e-7, atol=1e-8, err_msg=name)
    assert changed == 3 * 2 * 7
    (gone,) = results["dropped"]
    assert (gone["submodel"], gone["portion"]) == ("submodel-1", 1)
    assert gone["rows"] == results["portions"][1]["rows"]
    said = (
        f"submodel-1 failed and was dropped: the merge is of 3 of 4 sub-models, without {gone['rows']} rows."
    )
    assert said in results["statement"][1]
    for name in ("merged/README.md", "report.html"):
        assert said in (folder / name).read_text(), name
    assert [model["name"] for model in results["results"]["models"]] == [
        "base", "submodel-0", "submodel-2", "submodel-3", "merged"]  # fmt: skip


def test_the_next_run_tries_it_again_and_merges_all(stubbed):
    dropped = stubbed.run({"submodel-1": "out of memory"}, "on_failure=drop")
    assert stubbed.attempts.count("submodel-1") == 1
    whole = stubbed.run({}, "on_failure=drop")
    assert stubbed.attempts == ["submodel-1"]
    assert whole["dropped"] == []
    keys = [stage["key"] for one in (dropped, whole) for stage in one["stages"] if stage["name"] == "merge"]
    assert len(set(keys)) == 2
    assert "dropped" not in (stubbed.folder / "run/merged/README.md").read_text()


def test_a_baseline_does_without_the_same_one(stubbed):
    stubbed.run({"submodel-2": "out of memory"}, "on_failure=drop", "baselines=[ensemble]")
    assert stubbed.attempts.count("submodel-2") == 1


def test_fewer_than_two_are_no_merge(stubbed):
    plan = {f"submodel-{number}": "out of memory" for number in (0, 1, 3)}
    with pytest.raises(WorkerError, match="fewer than two sub-models are left"):
        stubbed.run(plan, "on_failure=drop")


def test_a_full_disk_drops_nothing(stubbed):
    with pytest.raises(ResourceError, match=r"submodel-1 failed; the other 3 are kept.*No space left"):
        stubbed.run({"submodel-1": "full disk"}, "on_failure=drop")


def test_attribution_leaves_out_what_was_dropped(stubbed, monkeypatch):
    from dtm.pipeline import attribute

    stubbed.run({"submodel-1": "out of memory"}, "on_failure=drop")
    asked = []
    monkeypatch.setattr(attribute.Run, "evaluate", lambda run, models: {})
    monkeypatch.setattr(
        attribute.Steps, "make_all", lambda steps, works, later=None: asked.extend(works) or []
    )
    result = attribute.attribute(stubbed.folder / "run", quiet=True)
    assert [work.label for work in asked] == [f"without portion {number}" for number in (0, 2, 3)]
    assert [portion["portion"] for portion in result["portions"]] == [0, 2, 3]


@pytest.mark.parametrize("said", ["dorp", "true"])
def test_what_it_may_say(stubbed, said):
    with pytest.raises(ConfigError, match=r"on_failure.*'stop' or 'drop'"):
        stubbed.run({}, f"on_failure={said}")


def test_a_lone_step_fails_as_it_is(stubbed):
    with pytest.raises(DtmError) as caught:
        stubbed.run({"vanilla_sft-0": "dies"}, "recipe=vanilla_sft", "train.args.nonsense=1")
    assert "are kept" not in caught.value.message
