"""Curating in a run: what is kept and why, what is done again, scores against fp64, and mistakes before any work."""

from __future__ import annotations

import csv
import json
from collections import Counter

import numpy as np
import pytest
import torch

from dtm.config import read
from dtm.foundations.errors import DataError, DtmError
from dtm.foundations.registry import registry
from dtm.foundations.types import Examples
from dtm.pipeline import run
from dtm.pipeline.checks import check
from dtm.report import validate
from tests.pipeline.conftest import RUN, write_run
from tests.tiny import tiny_model

PLAIN = RUN.replace("disperse: {method: kmeans, k: 2, dimensions: 8, on: both}", "disperse: {k: 2}")


@registry("rules").register("rates")
def rates(request):
    """More complex the longer the instruction, better the longer the response; red is not rated."""
    said = request.inputs
    if "red" in said["response"]:
        return "I would rather not."
    return {
        "complexity": min(6, len(said["instruction"]) / 8),
        "quality": min(6, 1 + len(said["response"]) / 5),
    }


@pytest.fixture(scope="module")
def place(inputs, tmp_path_factory, warm):
    """A function that reads, curates and disperses by a section, over one store."""
    out = tmp_path_factory.mktemp("curate")
    tiny_model(out / "small", seed=9, hidden=16, vocab=330)

    def curated(section, more="", until="disperse", **options):
        file = write_run(inputs, out, f"{PLAIN}curate: {section}\n{more}")
        return run(file, [f"output_dir={out / 'run'}"], until=until, **options, **warm)

    return out, curated


def table(out):
    with open(out / "run" / "curation" / "curation.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def aside(out):
    return [
        json.loads(line) for line in (out / "run" / "curation" / "set_aside.jsonl").read_text().splitlines()
    ]


def dispersed(out):
    rows = []
    for path in sorted((out / "run" / "portions").glob("portion-*.arrow")):
        rows += Examples.open(path).column("id")
    return set(rows)


def steps(out):
    return Counter(
        json.loads(path.read_text())["step"] for path in (out / ".dtm-store/objects").glob("*/manifest.json")
    )


def test_what_is_kept_is_dispersed_and_the_rest_is_told_with_its_reason(place):
    out, curated = place
    results = curated("{method: ifd, rows: 30}")
    validate(results)
    rows, gone = table(out), aside(out)
    kept = {row["id"] for row in rows if row["kept"] == "1"}
    assert len(kept) == 30
    assert kept == dispersed(out)
    assert {row["id"] for row in gone} == {row["id"] for row in rows} - kept
    scores = {row["id"]: float(row["score"]) for row in rows}
    assert all(scores[one] < 1 for one in kept)
    assert min(scores[one] for one in kept) == results["data"]["curation"]["least"]
    lower = [row["score"] for row in gone if row["reason"] == "lower ifd"]
    assert all(one <= results["data"]["curation"]["least"] for one in lower)
    assert gone[0]["messages"][0]["role"] == "user"
    told = results["data"]["curation"]
    assert told["reasons"] == Counter(row["reason"].split(" (")[0] for row in gone)
    assert (told["read"], told["rows"], results["data"]["train"]) == (len(rows), 30, 30)
    assert any("Trained on 30 of" in line for line in results["statement"])


def test_a_choice_that_keeps_nothing_is_an_error_that_says_why(place):
    _, curated = place
    with pytest.raises(DataError, match=r"deita keeps none of \d+ rows \(\d+: score below 1000\)"):
        curated("{method: deita, least: 1000, complexity: loss, quality: loss}")


def test_another_number_measures_nothing_again_and_the_same_does_nothing(place):
    out, curated = place
    curated("{method: ifd, rows: 30}")
    before = steps(out)
    curated("{method: ifd, rows: 20}")
    after = steps(out)
    assert after["curate"] == before["curate"] + 1
    assert {name: after[name] for name in ("losses", "alone", "render")} == {
        name: before[name] for name in ("losses", "alone", "render")
    }
    plan = curated("{method: ifd, rows: 20}", dry_run=True)
    assert {row["step"]: row["reused"] for row in plan["steps"]}["curate"]


def test_a_plan_counts_rows_that_are_still_to_be_chosen(place):
    _, curated = place
    plan = curated("{method: perplexity, rows: 16, model: small}", dry_run=True, until="evaluate")
    planned = {row["step"]: row for row in plan["steps"]}
    assert planned["curate"]["rows"] == 16
    assert planned["submodel-0"]["rows"] == 8
    assert planned["curate"]["planned"]


def test_sources_that_are_not_named_are_left_alone(place):
    out, curated = place
    results = curated("{method: longest, fraction: 0.25, sources: [adds]}")
    sources = results["data"]["curation"]["sources"]
    assert sources["colours"]["rows"] == sources["colours"]["read"]
    assert sources["adds"]["rows"] == round(0.25 * sources["adds"]["read"])
    assert {row["source"] for row in table(out)} == {"adds"}


def test_a_smaller_model_reads_the_rows_in_its_own_tokens(place):
    """Perplexity under `small`, of a response given its instruction, in fp64 from transformers alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out, curated = place
    curated("{method: perplexity, keep: low, rows: 10, model: small}")
    model = AutoModelForCausalLM.from_pretrained(out / "small", dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(out / "small")
    scores = {row["id"]: float(row["score"]) for row in table(out)}
    for row in aside(out)[:3]:
        asked, said = row["messages"]
        head = f"<|im_start|>user\n{asked['content']}<|im_end|>\n<|im_start|>assistant\n"
        ids, start = (tokenizer(text, add_special_tokens=False)["input_ids"]
                      for text in (f"{head}{said['content']}<|im_end|>", head))  # fmt: skip
        with torch.no_grad():
            log_p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        loss = -np.mean([log_p[place - 1, ids[place]].item() for place in range(len(start), len(ids))])
        assert scores[row["id"]] == pytest.approx(np.exp(loss), rel=1e-4)


def test_deita_takes_ratings_of_a_language_model_or_a_field(place):
    out, curated = place
    curated("{method: deita, rows: 12, similarity: 1.0, dimensions: 8, complexity: {name: rating, of: complexity}, "
            "quality: {name: rating, of: quality}}", "llm: {kind: rules, model: rates}\n")  # fmt: skip
    rows = table(out)
    assert all(row["reason"] == "no score" for row in rows if row["score"] == "")
    scored = sorted((float(row["score"]) for row in rows if row["score"]), reverse=True)
    assert sorted((float(row["score"]) for row in rows if row["kept"] == "1"), reverse=True) == scored[:12]
    for row in [row for row in aside(out) if row["score"] is not None][:3]:
        asked, said = (one["content"] for one in row["messages"])
        assert row["score"] == pytest.approx(min(6, len(asked) / 8) * min(6, 1 + len(said) / 5))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{method: idf, rows: 3}", "Did you mean 'ifd'"),
        ("{method: ifd}", "nothing says how many"),
        ("{method: ifd, rows: 3, fraction: 0.5}", "both say how many"),
        ("{method: ifd, rows: 3, kep: low}", "no setting of curate method 'ifd' 'kep'"),
        ("{method: ifd, rows: 3, sources: [add]}", "Did you mean 'adds'"),
        ("{method: near_duplicates, rows: 3}", "as many as there are"),
        ("{method: superfiltering, rows: 3}", "needs `model`"),
        ("{method: longest, rows: 3, model: model}", "with no model"),
        ("{method: ifd, rows: 3, model: nowhere}", "no model at 'nowhere'"),
        ("{method: deita}", "how many rows to keep"),
        ("{method: deita, rows: 3, quality: legnth}", "Did you mean 'length'"),
        ("{method: deita, rows: 3, quality: {name: rating, of: quality}}", "asks a language model"),
        ("{method: k_center, rows: 3, embedder: tfdif}", "Did you mean 'tfidf'"),
    ],
)
def test_mistakes_are_told_before_any_work(inputs, tmp_path, section, said):
    file = write_run(inputs, tmp_path, f"{PLAIN}curate: {section}\n")
    with pytest.raises(DtmError, match=said) as told:
        check(read(file))
    assert "curate" in str(told.value)


def test_more_rows_than_there_are_is_an_error_with_its_place(place):
    _, curated = place
    with pytest.raises(DtmError, match=r"run.yaml:\d+: curate.rows: there are \d+ rows to choose 5,000 of"):
        curated("{method: random, rows: 5000}")


def test_pre_training_text_is_replayed_with_loss_on_all_of_it(inputs, tmp_path, warm):
    """1:1 for one model, and in every portion."""
    (tmp_path / "text.jsonl").write_text(
        "".join(json.dumps({"text": f"Thing {n} is a thing."}) + "\n" for n in range(40))
    )
    text = PLAIN.replace("disperse: {k: 2}", "disperse: {k: 2, replay: {sources: [text]}}").replace(
        "  - {path: colours.jsonl, source: colours}", "  - {path: text.jsonl, source: text, format: text}"
    )
    run(write_run(inputs, tmp_path, text), [f"output_dir={tmp_path / 'run'}"], until="disperse", **warm)
    portions = list((tmp_path / "run" / "portions").glob("portion-*.arrow"))
    assert len(portions) == 2
    for path in portions:
        rows = Examples.open(path)
        replayed = [row for row in rows.rows() if row["source"] == "text"]
        assert len(replayed) > 30
        assert all(all(row["assistant_mask"]) for row in replayed)
