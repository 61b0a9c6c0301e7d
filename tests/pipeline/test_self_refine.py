"""self_refine on a tiny model whose answers are judged by a rule that it can meet: arms, reports, kills, mistakes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from dtm.foundations.errors import DtmError
from dtm.foundations.launch import LocalLauncher
from dtm.pipeline import run
from dtm.report import render, validate
from tests.pipeline.conftest import RUN, write_run

TEXT = (
    RUN.replace("method: kmeans, k: 2, dimensions: 8, on: both", "method: random, k: 2")
    .replace("num_train_epochs: 1", "max_steps: 2")
    .replace("lora_dropout: 0.1", "lora_dropout: 0.0")
    .replace("models: [base, submodels, merged]", "models: [base, baselines]")
    .replace("path: sums.jsonl", "path: sums.jsonl, limit: 2")
    + """
recipe: self_refine
baselines: [vanilla_sft]
sample: {num_return_sequences: 3, temperature: 1.0, max_new_tokens: 8, limit: 12}
pair: {answer: {method: regex, pattern: '[a-zA-Z]'}, keep: 2}   # gold rows hold letters too
prefer: {args: {learning_rate: 1.0e-3, max_steps: 3, per_device_train_batch_size: 4}}
"""
)


@pytest.fixture(scope="module")
def refine(kept_launcher, inputs, tmp_path_factory):
    """Run self_refine over one store with further settings."""
    out = tmp_path_factory.mktemp("refine")

    def run_it(*settings):
        shutil.rmtree(out / "run", ignore_errors=True)
        path = write_run(inputs, out, TEXT)
        results = run(
            path,
            [f"output_dir={out}/run", f"store={out}/store", *settings],
            quiet=True,
            launcher=kept_launcher,
        )
        validate(results)
        return SimpleNamespace(all=results, folder=out / "run", store=out / "store", **results["results"])

    return run_it


def model(found, name="self_refine"):
    return next(row for row in found.models if row["name"] == name)


def jobs(found, step):
    """Manifests of a step's results in the store."""
    manifests = (json.loads(path.read_text()) for path in found.store.glob("objects/*/manifest.json"))
    return [one for one in manifests if one["step"] == step]


def test_a_run_tells_the_yield_and_what_became_of_the_pairs(refine):
    found = refine()
    (told,), (step,) = found.all["preference"]["yields"], found.all["preference"]["steps"]
    assert told["questions"] == 12
    assert told["sampled"] == 36
    assert told["made"] == step["pairs"] > told["paired"] > 0
    assert told["paired"] + sum(one["count"] for one in told["reasons"]) == 12
    assert told["with_right"] + told["with_wrong"] >= 12
    assert step["labels"] == "as judged"
    assert step["fell"] == (step["chosen_after"] < step["chosen_before"])
    sft, tuned = model(found, "vanilla_sft"), model(found)
    assert (sft["steps"], tuned["steps"]) == (2, 5)
    (prefer,) = jobs(found, "prefer")
    assert tuned["tokens"] == sft["tokens"] + prefer["facts"]["tokens"]
    assert {(row["a"], row["b"]) for row in found.comparisons} == {
        ("self_refine", "base"), ("self_refine", "vanilla_sft"), ("vanilla_sft", "base")}  # fmt: skip
    card = (found.folder / "baselines" / "self_refine" / "README.md").read_text()
    assert f"| questions | {told['questions']} |" in card
    assert "recipe: self_refine" in card
    page = (found.folder / "report.html").read_text()
    assert "near-duplicates" in page
    again = refine()
    assert all(stage["reused"] for stage in again.all["stages"])
    assert again.all["preference"] == found.all["preference"]


def test_controls_share_the_first_phase_and_the_rollouts(refine):
    first = refine()
    found = {
        name: refine(f"recipe={{name: self_refine, refine: {name}}}")
        for name in ("shuffled", "chosen", "sft")
    }
    for name, one in found.items():
        redone = {stage["name"] for stage in one.all["stages"] if not stage["reused"]}
        assert not redone & {"vanilla_sft", "vanilla_sft rollouts", "vanilla_sft pairs"}
        assert model(one)["digest"] != model(first)["digest"], name
    assert found["shuffled"].all["preference"]["steps"][0]["labels"] == "shuffled"
    assert found["chosen"].all["preference"]["steps"] == []
    assert found["chosen"].all["preference"]["yields"] == first.all["preference"]["yields"]
    spent = _compute(first)
    for name, rows in (
        ("chosen", jobs(first, "chosen")[0]["facts"]),
        ("sft", jobs(first, "render")[0]["facts"]["train"]),
    ):
        steps = model(found[name])["steps"] - 2
        a_step = 3 * 4 * rows["tokens"] / rows["rows"]
        assert spent <= steps * a_step < spent + a_step, name


def _compute(found):
    """Tokens that were read, thrice where trained on: sampling, the reference, three steps of four pairs."""
    (sampled,), (paired,) = jobs(found, "sample"), jobs(found, "pair")
    pairs = paired["facts"]
    trained = 3 * 4 / pairs["rows"] * pairs["tokens"]
    return sampled["facts"]["tokens"] + sampled["facts"]["read_tokens"] + pairs["tokens"] + 3 * trained


def test_rounds_go_on_from_one_another_and_dispersing_comes_first(refine):
    found = refine(
        "recipe={name: self_refine, rounds: 2, start: disperse_then_merge}", "baselines=[disperse_then_merge]"
    )
    assert [step["model"] for step in found.all["preference"]["steps"]] == ["self_refine-1", "self_refine-2"]
    assert [one["pairs"] for one in found.all["preference"]["yields"]] == [
        "merged pairs",
        "self_refine-1 pairs",
    ]
    assert model(found)["steps"] == 2 * 2 + 2 * 3
    prefers = {one["inputs"]["base"]: one for one in jobs(found, "prefer")}
    assert model(found, "disperse_then_merge")["digest"] in prefers  # the merged model is the reference


def test_the_gold_answer_may_stand_in_a_field(refine):
    with pytest.raises(DtmError, match="12 times: the gold holds no answer"):
        refine("pair.gold=label")


def test_the_alarm_is_told(refine, capsys):
    found = refine()
    results = json.loads((found.folder / "results.json").read_text())
    results["preference"]["steps"][0] |= {"fell": True, "chosen_before": -1.0, "chosen_after": -2.0}
    render(results, found.folder)
    assert (
        "the chosen answers became less likely, from -1.00 to -2.00"
        in (found.folder / "report.html").read_text()
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("pair.answer=numbr", r"pair.answer: there is no answer method 'numbr'. Did you mean 'number'"),
        ("pair.answer={adds: number}", "no extractor is named for the source 'colours'"),
        ("pair.answer={adds: number, colors: exact}", "no source 'colors'. Did you mean 'colours'"),
        ("pair.answer={method: regex, pattern: '('}", r"answer.pattern: '\(' is no regular expression"),
        ("pair.method=correct_vs_wrng", "Did you mean 'correct_vs_wrong'"),
        ("pair.kep=3", "no setting of pair method 'correct_vs_wrong' 'kep'. Did you mean 'keep'"),
        ("sample.temperature=0", "sample.temperature: 0 will not do"),
        ("sample.sources=[colour]", "sample.sources.0: there is no source 'colour'. Did you mean 'colours'"),
        ("sample.num_return_sequence=3", "Did you mean `num_return_sequences`"),
        ("prefer.args.bta=1", "Did you mean 'beta'"),
        ("recipe={name: self_refine, refine: kto}", "'kto' is not one of 'dpo'"),
    ],
)
def test_mistakes_are_told_before_any_work(inputs, tmp_path, setting, message):
    path = write_run(inputs, tmp_path, TEXT)
    with pytest.raises(DtmError, match=message):
        run(path, [f"output_dir={tmp_path}/run", setting], quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_worker_killed_in_sampling_goes_on_where_it_was(refine, inputs, tmp_path, monkeypatch):
    expected = refine("sample.batch_size=3")
    store = tmp_path / "store"
    shutil.copytree(expected.store, store)
    for manifest in (store / "objects").glob("*/manifest.json"):
        if json.loads(manifest.read_text())["step"] in ("sample", "pair"):
            shutil.rmtree(manifest.parent)
    faults = str(Path(__file__).parent / "faults")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([faults, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FAULT", "dtm.evaluate.sampling:draw:3")  # of four batches
    places = [f"output_dir={tmp_path}/run", f"store={store}", "sample.batch_size=3"]
    with LocalLauncher(workers=1, threads=1) as launcher:
        results = run(write_run(inputs, tmp_path, TEXT), places, quiet=True, launcher=launcher)
    told = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in told if line["event"] == "retry"] == ["vanilla_sft rollouts"]
    redone = {stage["name"] for stage in results["stages"] if not stage["reused"]}
    assert redone == {
        "vanilla_sft rollouts",
        "vanilla_sft pairs",
    }  # the same bytes, so that what follows is reused
    assert results["results"] == expected.all["results"]
