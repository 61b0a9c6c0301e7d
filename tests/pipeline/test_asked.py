"""Both recipes with a language model behind an endpoint: a scripted server stands for it. Plumbing, no claim."""

from __future__ import annotations

import json

import pytest

from dtm.foundations.errors import DtmError
from dtm.pipeline import run
from tests.foundations.llm.server import Server, says
from tests.pipeline.test_demorecon import WORDS, folder  # noqa: F401 - the fixture


def answer(prompt):
    """What a good model would say to the questions of demorecon, and to arithmetic with a request to think."""
    if prompt.startswith("Take this instruction apart"):
        instruction = prompt.rpartition("Instruction:\n")[2].split("\n")[0]
        new = {
            "old": "square brackets",
            "new": "capitals",
            "instruction": f"{instruction} In capitals.",
            "valid": True,
        }
        return json.dumps({"parts": [{"kind": "action", "text": instruction}], "variants": [new]})
    if "New instruction:" in prompt:
        return json.dumps({"response": f"LOUD {len(prompt)}", "old_follows": False, "new_follows": False})
    number = int(next(word for word in prompt.replace("?", " ").split() if word.isdigit()))
    return f"I think of it. It is [thing {number} {WORDS[number % 6] if number % 2 else 'x'}]"


@pytest.fixture
def started(folder, kept_launcher, tmp_path):  # noqa: F811
    """Run with an endpoint that answers so; returns a function of settings, and the server."""
    with Server([says(answer)]) as server:
        places = [
            f"output_dir={tmp_path}/run",
            f"store={tmp_path}/store",
            f"llm={{model: m, base_url: '{server.url}'}}",
        ]
        places += ["evaluate.tasks=[]", "evaluate.heldout=false", "evaluate.models=[]"]

        def go(*more, **options):
            settings = [*places, *more]
            return run(folder / "run.yaml", settings, quiet=True, launcher=kept_launcher, **options)

        yield go, server, tmp_path


def test_variants_by_a_model_are_trained_on_and_asked_for_once(started):
    go, server, place = started
    planned = go("augment.by=llm", dry_run=True)
    assert not server.seen
    assert any(row["step"] == "demorecon" and row["planned"] for row in planned["steps"])
    results = go("augment.by=llm", "augment.variants=1")
    (told,) = results["augmented"]
    assert told["made"] > 20
    assert told["kinds"] == {"asked": told["made"]}
    first = len(server.seen)
    assert first == 2 * told["made"]
    manifest = next(one for path in (place / "store" / "objects").glob("*/manifest.json")
                    if (one := json.loads(path.read_text()))["step"] == "augment")  # fmt: skip
    assert manifest["facts"]["llm"]["answered"] == first
    go("augment.by=llm", "augment.variants=1", "train.args.learning_rate=2.0e-3")
    assert len(server.seen) == first


def test_a_teachers_right_answers_take_the_place_of_the_rows_own(started):
    go, server, _ = started
    settings = (
        "recipe={name: self_refine, teacher: llm}", "sample.sources=[forms]", "sample.max_new_tokens=4",
        "sample.num_return_sequences=2", "pair.answer={method: regex, pattern: '(?<=thing )[0-9]+ [a-z]+'}",
    )  # fmt: skip
    results = go(*settings)
    (told,) = results["augmented"]
    assert told["method"] == "demonstrations"
    assert 0 < told["made"] < told["seeds"] == len(server.seen)
    assert told["made"] + told["invalid"] == told["seeds"]
    assert all("think step by step" in one["body"]["messages"][-1]["content"].lower() for one in server.seen)


@pytest.mark.parametrize("setting", ["augment.by=llm", "recipe={name: self_refine, teacher: llm}"])
def test_without_a_model_the_mistake_is_told_before_any_work(folder, tmp_path, setting):  # noqa: F811
    with pytest.raises(DtmError, match="this asks a language model, and there is none"):
        run(folder / "run.yaml", [f"output_dir={tmp_path}/run", setting], quiet=True)
    assert not (tmp_path / "run").exists()
