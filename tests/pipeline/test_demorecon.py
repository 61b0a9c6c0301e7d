"""demorecon on a tiny model and the testbed's forms: variants, their files, controls of as many rows, contrasts."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from dtm.foundations.errors import DtmError
from dtm.foundations.types import Examples
from dtm.pipeline import run
from dtm.pipeline.pairing import read_pairs
from dtm.report import validate
from tests.tiny import tiny_model

TEXT = """
recipe: demorecon
base: model
data: [{path: forms.jsonl, source: forms}, {path: plain.jsonl, source: plain}]
dev: {fraction: 0.1}
augment: {variants: 2}
disperse: {method: random, k: 2}
train:
  lora: {r: 4, lora_alpha: 8}
  args: {learning_rate: 1.0e-3, max_steps: 2, per_device_train_batch_size: 4, max_length: 160}
prefer: {args: {learning_rate: 1.0e-3, max_steps: 2, per_device_train_batch_size: 4}}
evaluate:
  tasks: [{name: pairs, path: pairs.jsonl, max_tokens: 8}, {name: contrast, path: pairs.jsonl, kind: pair_contrast}]
  models: [base]
launch: {workers: 1, threads: 1}
output_dir: run
"""
WORDS = ("pear", "fig", "apple", "plum", "kiwi", "date")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirty rows with a form, thirty without."""
    place = tmp_path_factory.mktemp("forms")
    tiny_model(place / "model", seed=1)
    forms = [
        {"question": f"Write thing {n} in square brackets.", "answer": f"[thing {n} {WORDS[n % 6]}]"}
        for n in range(28)
    ]
    forms += [{"question": f"Answer {n} in German.", "answer": "Ja."} for n in range(2)]
    plain = [{"question": f"What is thing {n}?", "answer": f"A {WORDS[n % 6]}."} for n in range(30)]
    pairs = [
        {"context": f"Write {word} in capital letters.", "answer": word.upper(),
         "other_context": f"Write {word} in square brackets.", "other_answer": f"[{word}]"}
        for word in WORDS[:3]
    ]  # fmt: skip
    for name, rows in (("forms", forms), ("plain", plain), ("pairs", pairs)):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "run.yaml").write_text(TEXT)
    return place


@pytest.fixture(scope="module")
def recon(folder, kept_launcher):
    """Run the recipe over one store with further settings."""

    def run_it(*settings):
        shutil.rmtree(folder / "run", ignore_errors=True)
        places = [f"output_dir={folder}/run", f"store={folder}/store"]
        results = run(folder / "run.yaml", [*places, *settings], quiet=True, launcher=kept_launcher)
        validate(results)
        return SimpleNamespace(
            all=results, folder=folder / "run", store=folder / "store", **results["results"]
        )

    return run_it


def rows_of(found, step):
    """The training rows that the last done step of that name made: manifests are by key, so take the file it used."""
    keys = [stage["key"] for stage in found.all["stages"]]
    for key in keys:
        manifest = json.loads((found.store / "objects" / key / "manifest.json").read_text())
        if manifest["step"] == step:
            return list(Examples.open(found.store / "objects" / key / "train.arrow").rows()), manifest
    raise AssertionError(step)


def test_rows_and_their_variants_are_trained_on_and_written_for_others(recon):
    found = recon("recipe={name: demorecon, contrast: true}")
    rows, manifest = rows_of(found, "augment")
    new = [row for row in rows if row["parent"]]
    assert {row["source"] for row in new} == {"forms"}
    families = {row["family"] for row in rows if not row["parent"]}
    assert {row["family"] for row in new} <= families
    (told,) = found.all["augmented"]
    assert told["made"] == len(new) == 2 * told["seeds"] == manifest["facts"]["made"]
    assert told["invalid"] == sum(reason["count"] for reason in told["reasons"]) > 0
    assert told["kinds"] == {"form": len(new)}
    place = found.folder / "augmented" / "demorecon"
    assert {path.name for path in place.iterdir()} == {
        "card.json",
        "dpo.jsonl",
        "invalid.jsonl",
        "kto.jsonl",
        "sft.jsonl",
    }
    assert len((place / "sft.jsonl").read_text().splitlines()) == told["seeds"] + told["made"]
    (pairs,) = found.all["preference"]["yields"]
    small = sum("in small letters" in row["messages"][-2]["content"] for row in new)  # which [thing 1 fig] is
    assert pairs["made"] == 2 * len(new) - small
    assert [reason["count"] for reason in pairs["reasons"]] == ([small] if small else [])
    exported = [json.loads(line) for line in (place / "dpo.jsonl").read_text().splitlines()]
    text = {
        (one["prompt"][-1]["content"], one["chosen"][0]["content"], one["rejected"][0]["content"])
        for one in exported
    }
    shown = [
        json.loads(line) for line in (found.folder / "pairs" / "contrasts.jsonl").read_text().splitlines()
    ]
    assert {
        (one["prompt"][-1]["content"], one["chosen"][0]["content"], one["rejected"][0]["content"])
        for one in shown
    } == text
    (model,) = [row for row in found.models if row["name"] == "demorecon"]
    assert model["steps"] == 2 + 2
    assert {row["task"]: row["metric"] for row in found.scores if row["primary"]} == {
        "pairs": "pair_consistent", "contrast": "contrast"}  # fmt: skip
    assert "what was changed" in (found.folder / "report.html").read_text()
    again = recon("recipe={name: demorecon, contrast: true}")
    assert all(stage["reused"] for stage in again.all["stages"])


def test_pairs_are_the_rows_own_tokens(recon, folder):
    from transformers import AutoTokenizer

    found = recon("recipe={name: demorecon, contrast: true}")
    (key,) = [stage["key"] for stage in found.all["stages"] if stage["name"] == "contrasts"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    for pair in read_pairs(found.store / "objects" / key / "pairs.arrow"):
        prompt = tokenizer.apply_chat_template(pair["prompt"], tokenize=False, add_generation_prompt=True)
        assert tokenizer.decode(pair["prompt_ids"]) == prompt
        assert tokenizer.decode(pair["chosen_ids"]) == pair["chosen"] + "<|im_end|>"
        assert tokenizer.decode(pair["rejected_ids"]) == pair["rejected"] + "<|im_end|>"


def test_controls_train_on_as_many_rows(recon):
    counts, digests = {}, set()
    for extra in ("variants", "paraphrases", "rows", "none"):
        found = recon(f"recipe={{name: demorecon, spare: 0.5, extra: {extra}}}", "augment.variants=1")
        (train,) = [stage for stage in found.all["stages"] if stage["name"] == "vanilla_sft"]
        counts[extra] = int(train["what"].split(" rows")[0])
        digests.add(found.models[-1]["digest"])
    made = counts["variants"] - counts["none"]
    assert made > 5
    assert counts["paraphrases"] == counts["rows"] == counts["variants"]
    assert len(digests) == 4


def test_families_stay_together_when_rows_are_dispersed(recon):
    found = recon("recipe={name: demorecon, start: disperse_then_merge}")
    portions = [
        set(Examples.open(path).column("family"))
        for path in (found.folder / "portions").glob("portion-*.arrow")
    ]
    assert len(portions) == 2
    assert not portions[0] & portions[1]
    assert found.all["merge"] is None or found.models[-1]["role"] == "merged"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("recipe={name: demorecon, extra: rows}",), "`extra: rows` needs `spare` above 0"),
        (("augment.method=demorekon",), "Did you mean 'demorecon'"),
        (("augment.variant=1",), "Did you mean 'variants'"),
        (("recipe={name: demorecon, extra: row}",), "'row' is not one of 'variants'"),
        (("augment.sources=[plan]",), "no source 'plan'. Did you mean 'plain'"),
        (("augment.sources=[plain]",), r"demorecon made nothing of \d+ rows.*augment.attach"),
        (
            ("recipe={name: demorecon, spare: 0.1, extra: rows}",),
            r"\d+ more rows are wanted, and \d were set aside",
        ),
    ],
)
def test_mistakes_are_told(folder, tmp_path, settings, message, kept_launcher):
    with pytest.raises(DtmError, match=message):
        run(folder / "run.yaml", [f"output_dir={tmp_path}/run", f"store={folder}/store", *settings], quiet=True,
            launcher=kept_launcher)  # fmt: skip
