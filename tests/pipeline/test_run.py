"""The whole path on a tiny model: what it writes, and that nothing is done twice."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from dtm.report import validate
from tests.pipeline.conftest import RUN, content, dtm, events, without, write_run


def test_run_folder_holds_readable_names(undisturbed):
    folder = undisturbed / "run"
    for name in ("run.yaml", "log.jsonl", "results.json", "report.html", "dropped.jsonl", "portions/card.json",
                 "portions/assignment.csv", "portions/portion-1.arrow", "submodels/0/adapter_model.safetensors",
                 "submodels/1/training.json", "merged/model.safetensors", "merged/README.md",
                 "evaluation/merged/sums.raw.items.jsonl"):  # fmt: skip
        assert (folder / name).exists(), name


def test_results_follow_their_schema_and_add_up(undisturbed):
    results = json.loads((undisturbed / "run" / "results.json").read_text())
    validate(results)
    data = results["data"]
    assert data["read"] == 103
    assert data["kept"] + sum(reason["count"] for reason in data["reasons"]) == data["read"]
    assert sum(portion["rows"] for portion in results["portions"]) == data["train"]
    models = {model["name"]: model for model in results["results"]["models"]}
    assert list(models) == ["base", "submodel-0", "submodel-1", "merged"]
    assert models["merged"]["tokens"] == sum(portion["trained_tokens"] for portion in results["portions"])
    assert {row["model"] for row in results["results"]["scores"]} == set(models)
    assert all(len(curve["points"]) > 3 for curve in results["curves"])
    stages = {stage["name"]: stage for stage in results["stages"]}
    assert stages["submodel-0"]["tokens"] == models["submodel-0"]["tokens"] > 0
    assert stages["submodel-0"]["seconds"] > 0


def test_every_row_that_was_left_out_is_there_with_file_line_and_reason(undisturbed):
    lines = (undisturbed / "run" / "dropped.jsonl").read_text().splitlines()
    told = [(row["file"], row["line"], row["reason"].split(" (")[0]) for row in map(json.loads, lines)]
    assert told == [
        ("adds.jsonl", 61, "broken JSON"),
        ("adds.jsonl", 62, "empty answer"),
        ("adds.jsonl", 63, "too long: more than 128 tokens"),
    ]


def test_merged_weights_are_the_exact_average_of_the_updates(undisturbed):
    """theta_0 + sum_k w_k s B_k A_k in fp64, rounded once to fp32."""
    folder = undisturbed / "run"
    base = load_file(_prepared_base(undisturbed) / "model.safetensors")
    merged = load_file(folder / "merged" / "model.safetensors")
    adapters = [load_file(folder / "submodels" / str(k) / "adapter_model.safetensors") for k in range(2)]
    changed = 0
    for name, weight in base.items():
        expected = weight.astype(np.float64)
        stem = "base_model.model." + name.removesuffix(".weight")
        for adapter in adapters:
            if f"{stem}.lora_A.weight" in adapter:
                A, B = (adapter[f"{stem}.lora_{side}.weight"].astype(np.float64) for side in "AB")
                expected = expected + 0.5 * (8 / 4) * (B @ A)
                changed += 1
        np.testing.assert_allclose(merged[name], expected, rtol=2e-7, atol=1e-9, err_msg=name)
    assert changed == 2 * 2 * 7  # sub-models x layers x linear modules


def test_merged_model_loads_in_plain_transformers_and_knows_its_template(undisturbed):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = undisturbed / "run" / "merged"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], add_generation_prompt=True,
                                            return_tensors="pt", return_dict=True)  # fmt: skip
    assert (
        model.generate(**encoded, max_new_tokens=2, do_sample=False).shape[1]
        == encoded["input_ids"].shape[1] + 2
    )
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in model.generation_config.eos_token_id


def test_added_tokens_stand_at_the_mean_embedding(undisturbed, inputs):
    before = load_file(inputs / "model" / "model.safetensors")["model.embed_tokens.weight"]
    after = load_file(_prepared_base(undisturbed) / "model.safetensors")["model.embed_tokens.weight"]
    tokenizer = json.loads((_prepared_base(undisturbed) / "tokenizer.json").read_text())
    ids = [token["id"] for token in tokenizer["added_tokens"] if token["content"].startswith("<|im_")]
    assert len(ids) == 2
    known = min(len(before), min(ids))
    np.testing.assert_allclose(
        after[ids], np.tile(before[:known].astype(np.float64).mean(0), (2, 1)), atol=1e-6
    )


def test_a_second_run_does_no_work_and_imports_no_torch(undisturbed, inputs, tmp_path):
    before = content(undisturbed)
    done = dtm("run", write_run(inputs, undisturbed))
    assert done.returncode == 0
    assert set(events(undisturbed).values()) == {"reused"}
    assert content(undisturbed) == before


def test_changing_only_merge_redoes_merge_and_evaluation_of_the_merged_model(undisturbed, inputs, tmp_path):
    without(undisturbed, tmp_path)
    done = dtm("run", write_run(inputs, tmp_path), "-s", "merge.weights=[0.7, 0.3]")
    assert done.returncode == 0, done.stderr
    redone = {step for step, what in events(tmp_path).items() if what == "done"}
    assert redone == {"merge", "merged sums", "merged held-out loss"}


def test_bytes_do_not_depend_on_the_number_of_workers(undisturbed, inputs, tmp_path):
    without(undisturbed, tmp_path, "train", "merge", "evaluate", "heldout")
    done = dtm("run", write_run(inputs, tmp_path, RUN.replace("workers: 1", "workers: 2")))
    assert done.returncode == 0, done.stderr
    card = {"merged/README.md": ""}  # holds the run file, which says how many
    assert content(tmp_path) | card == content(undisturbed) | card


def test_dry_run_trains_nothing_and_says_why(undisturbed, inputs, tmp_path):
    without(undisturbed, tmp_path, "train", "merge", "evaluate", "heldout")
    path = write_run(inputs, tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.yaml").write_text("")
    (tmp_path / "run" / "steps.json").write_text((undisturbed / "run" / "steps.json").read_text())
    done = dtm("run", path, "--dry-run", "--json", "-s", "train.args.learning_rate=5e-4")
    assert done.returncode == 0, done.stderr
    plan = {row["step"]: row for row in json.loads(done.stdout)["steps"]}
    assert plan["load"]["reused"]
    assert plan["submodel-0"]["planned"]
    assert not plan["load"]["planned"]
    assert not plan["submodel-0"]["reused"]
    assert plan["submodel-0"]["why"] == "args.learning_rate: 0.001 -> 0.0005"
    assert plan["merge"]["why"] == "model 0 changed; model 1 changed"
    assert plan["submodel-0"]["steps"] > 5
    assert plan["submodel-0"]["tokens"] > 100
    objects = [
        json.loads(m.read_text())["step"] for m in (tmp_path / ".dtm-store/objects").glob("*/manifest.json")
    ]
    assert "train" not in objects


def test_vanilla_recipe_and_baseline_share_their_training(undisturbed, inputs, tmp_path):
    without(undisturbed, tmp_path)
    done = dtm(
        "run",
        write_run(inputs, tmp_path),
        "-s",
        "baselines=[vanilla_sft]",
        "-s",
        "evaluate.models=[base, baselines, merged]",
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    roles = {model["name"]: model["role"] for model in results["results"]["models"]}
    assert roles["vanilla_sft"] == "baseline"
    pairs = {(row["a"], row["b"]) for row in results["results"]["comparisons"]}
    assert pairs == {("merged", "base"), ("merged", "vanilla_sft"), ("vanilla_sft", "base")}
    alone = dtm(
        "run", write_run(inputs, tmp_path), "-s", "recipe=vanilla_sft", "-s", f"output_dir={tmp_path}/alone"
    )
    assert alone.returncode == 0, alone.stderr
    assert "done" not in _ended(tmp_path / "alone")


@pytest.mark.parametrize("export", ["model", "adapter"])
def test_full_fine_tuning_and_adapter_export_run(undisturbed, inputs, tmp_path, export):
    without(undisturbed, tmp_path)
    if export == "adapter":
        settings = ["merge.export=adapter", "evaluate.format=both"]
    else:
        settings = [
            "train.lora=null",
            "train.args.max_steps=2",
            "evaluate.models=[merged]",
            "disperse.method=random",
        ]
    done = dtm("run", write_run(inputs, tmp_path), *(word for one in settings for word in ("-s", one)))
    assert done.returncode == 0, done.stderr
    merged = tmp_path / "run" / "merged"
    assert (merged / ("adapter_model.safetensors" if export == "adapter" else "model.safetensors")).exists()
    if export == "model":
        parts = [load_file(tmp_path / "run" / "submodels" / str(k) / "model.safetensors") for k in range(2)]
        for name, weight in load_file(merged / "model.safetensors").items():
            expected = (parts[0][name].astype(np.float64) + parts[1][name]) / 2
            np.testing.assert_allclose(weight, expected, rtol=2e-7, atol=1e-9)


def _ended(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["event"] for line in lines if line["step"] in ("load", "render", "vanilla_sft")]


def _prepared_base(out):
    for manifest in (out / ".dtm-store" / "objects").glob("*/manifest.json"):
        if json.loads(manifest.read_text())["step"] == "prepare_base":
            return manifest.parent
    raise AssertionError("there is no prepared base")


def test_the_card_holds_this_runs_file(undisturbed, inputs, tmp_path):
    without(undisturbed, tmp_path)
    done = dtm("run", write_run(inputs, tmp_path, RUN + "# a note of this run\n"))
    assert done.returncode == 0, done.stderr
    assert "# a note of this run" in (tmp_path / "run" / "merged" / "README.md").read_text()
    assert set(events(tmp_path).values()) == {"reused"}


def test_repeated_rows_count_once_and_sources_of_one_name_are_one(undisturbed, inputs, tmp_path):
    text = RUN.replace("path: colours.jsonl, source: colours", "path: colours.jsonl, source: adds, weight: 2")
    done = dtm("disperse", write_run(inputs, tmp_path, text))
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "run" / "results.json").read_text())["data"]
    assert [source["source"] for source in data["sources"]] == ["adds"]
    assert data["sources"][0]["kept"] == data["kept"] == 100
    assert data["train"] + data["dev"] == 140


def test_a_callers_launcher_stays_open_and_serves_the_next_run(undisturbed, inputs, tmp_path, monkeypatch):
    from dtm.foundations.errors import ConfigError
    from dtm.foundations.launch import LocalLauncher
    from dtm.pipeline import run

    path = write_run(inputs, without(undisturbed, tmp_path, "heldout"))
    monkeypatch.chdir(tmp_path)
    with LocalLauncher(workers=1, threads=1) as launcher:
        run(path, quiet=True, launcher=launcher)
        worker = launcher._places[0].where["pid"]
        run(path, ["output_dir=again"], quiet=True, launcher=launcher)
        assert launcher._places[0].ready() is None
        assert launcher._places[0].where["pid"] == worker
    assert content(tmp_path) == content(undisturbed)
    with pytest.raises(ConfigError, match="2 threads, and this run wants 1"):
        run(path, quiet=True, launcher=LocalLauncher(workers=1, threads=2))
