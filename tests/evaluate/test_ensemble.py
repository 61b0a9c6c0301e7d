"""The ensemble against averaging probabilities by hand in fp64; the mean of what several models scored."""

from __future__ import annotations

import json

import pytest
import torch
from lm_eval.api.instance import Instance

from dtm.evaluate.averaging import mean_of_rows, mean_of_tasks
from dtm.evaluate.heldout import response_loss
from dtm.evaluate.lm_eval_model import LanguageModel
from dtm.evaluate.loading import model_and_tokenizer
from dtm.evaluate.summary import read_items
from dtm.foundations.errors import ConfigError
from dtm.foundations.types import Examples
from tests.evaluate.conftest import Reference
from tests.pipeline.submodels import rows_file
from tests.tiny import tiny_model

ROWS = [{"query": "The sea is", "choices": ["blue", "a red stone", "on the hill and in the sun"], "gold": 0},
        {"query": "Question: What do bees make?", "choices": ["wool", "honey"], "gold": 1}]  # fmt: skip
PROMPTS = ["The sea", "Question: What do the bees in the garden make of the flowers?\nAnswer:", "A"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return [tiny_model(folder / str(seed), seed=seed) for seed in (1, 2, 3)]


def job(folders, **more):
    return {"parts": [{"model": str(one), "adapter": None} for one in folders], "dtype": "float32", **more}


def logs(references, ids):
    """log of the mean of the models' next-token probabilities [T, V], fp64."""
    return torch.stack([one.logs(ids).exp() for one in references]).mean(0).log()


def test_log_likelihoods_are_of_the_mean_probability(run, parts):
    references = [Reference(folder) for folder in parts]
    result = run(ROWS, model=None, **job(parts))
    for row, prompt, item in zip(
        ROWS, ("The sea is", f"{ROWS[1]['query']}\nAnswer:"), result.items, strict=True
    ):
        expected = []
        for choice in row["choices"]:
            before, ids = len(references[0].encode(prompt)), references[0].encode(f"{prompt} {choice}")
            at = logs(references, ids[:-1])[before - 1 :]
            expected.append(sum(float(one[token]) for one, token in zip(at, ids[before:], strict=True)))
        assert item["loglikelihoods"] == pytest.approx(expected, rel=1e-5)


def test_greedy_answers_follow_the_mean_probability(run, parts):
    references = [Reference(folder) for folder in parts]
    rows = [{"context": prompt, "answer": "x"} for prompt in PROMPTS]
    result = run(rows, model=None, entry={"max_tokens": 6}, **job(parts))
    for prompt, item in zip(PROMPTS, result.items, strict=True):
        ids = references[0].encode(prompt)
        start = len(ids)
        while len(ids) < start + 6:
            best = int(logs(references, ids)[-1].argmax())
            ids.append(best)
            if best == references[0].tokenizer.eos_token_id:
                break
        said = references[0].tokenizer.decode(ids[start:], skip_special_tokens=True)
        assert item["response"] == said.split("\n")[0]
    assert len({item["response"] for item in result.items}) == 3


def test_held_out_loss_of_the_ensemble(parts, tmp_path):
    path = rows_file(tmp_path / "rows.arrow")
    found = response_loss({**job(parts), "examples": str(path), "output": str(tmp_path / "out")})
    references = [Reference(folder) for folder in parts]
    total, count = 0.0, 0
    for row in Examples.open(path).rows():
        ids = row["input_ids"]
        at = logs(references, ids[:-1])
        total -= sum(float(one[token]) for one, token in zip(at, ids[1:], strict=True))
        count += len(ids) - 1
    assert found["sources"]["all"]["loss"] == pytest.approx(total / count, rel=1e-5)


def test_an_ensemble_does_not_sample(parts):
    both, tokenizer = model_and_tokenizer(job(parts[:2]))
    model = LanguageModel(both, tokenizer, batch_size=2, max_length=None, progress=None)
    asked = Instance(
        "generate_until", {}, ("The sea", {"until": ["\n"], "do_sample": True, "max_gen_toks": 4}), 0
    )
    with pytest.raises(ConfigError, match="an ensemble answers greedily"):
        model.generate_until([asked])


def test_the_mean_of_what_models_scored(run, parts, tmp_path):
    each = [run(ROWS, model=str(folder), output=f"one-{k}") for k, folder in enumerate(parts)]
    (tmp_path / "mean").mkdir()
    folders = [tmp_path / f"one-{k}" for k in range(3)]
    facts = mean_of_tasks(folders, [one.facts for one in each], tmp_path / "mean")
    for metric in ("acc", "acc_norm"):
        mean = sum(one.scores[metric]["value"] for one in each) / 3
        assert facts["scores"][metric] == {"value": pytest.approx(mean), "n": 2}
    for number, item in enumerate(read_items(tmp_path / "mean")):
        assert item["metrics"]["acc"] == sum(one.items[number]["metrics"]["acc"] for one in each) / 3
        assert item["prompt"] == each[0].items[number]["prompt"]
    assert json.loads((tmp_path / "mean" / "scores.json").read_text()) == facts["scores"]


def test_the_mean_of_held_out_losses(parts, tmp_path):
    path = rows_file(tmp_path / "rows.arrow")
    losses = [response_loss({"model": str(folder), "adapter": None, "examples": str(path), "dtype": "float32",
                             "output": str(tmp_path / folder.name)})["sources"]["all"]["loss"]
              for folder in parts]  # fmt: skip
    (tmp_path / "mean").mkdir()
    found = mean_of_rows([tmp_path / folder.name for folder in parts], tmp_path / "mean")
    assert found["sources"]["all"]["loss"] == pytest.approx(sum(losses) / 3, rel=1e-12)
