"""phased_ift and dual_stage_mixed in whole runs of a tiny model: who was trained on which rows, from whom."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from dtm.foundations.errors import DtmError
from dtm.foundations.types import Examples
from dtm.pipeline import run
from tests.pipeline.conftest import RUN, write_run

TEXT = RUN.replace("method: kmeans, k: 2, dimensions: 8, on: both", "method: random, k: 2").replace(
    "  lora: {r: 4, lora_alpha: 8, lora_dropout: 0.1}\n", ""
)


@pytest.fixture(scope="module")
def arms(inputs, tmp_path_factory, kept_launcher):
    """Run a recipe over one store; returns its results and what each training was given."""
    out = tmp_path_factory.mktemp("staged")
    more = [json.dumps({"question": f"{number}?", "answer": "n"}) for number in range(9)]
    (out / "more.jsonl").write_text("\n".join(more))

    def run_recipe(recipe, *settings, **more):
        shutil.rmtree(out / "run", ignore_errors=True)
        path = write_run(inputs, out, TEXT)
        settings = [f"recipe={recipe}", f"output_dir={out}/run", f"store={out}/store",
                    "evaluate.models=[base, checkpoints]", *settings]  # fmt: skip
        results = run(path, settings, quiet=True, launcher=kept_launcher, **more)
        models = {one["name"]: one for one in results["results"]["models"]}
        trained = [one for one in results["stages"] if one["steps"]]
        return SimpleNamespace(all=results, models=models, store=Store(out / "store"), trained=trained)

    return run_recipe


class Store:
    """Manifests by key, and rows by digest."""

    def __init__(self, root):
        self.root = root
        paths = root.glob("objects/*/manifest.json")
        self.manifests = {path.parent.name: json.loads(path.read_text()) for path in paths}

    def rows(self, digest):
        """The rows whose file has that sha256."""
        for key, manifest in self.manifests.items():
            for name, sha in manifest["files"].items():
                if sha == digest:
                    return Examples.open(self.root / "objects" / key / name)
        raise KeyError(digest)

    def given(self, stage):
        """The rows of a training by id, and the digest of what it started from."""
        inputs = self.manifests[stage["key"]]["inputs"]
        return self.rows(inputs["examples"]).column("id"), inputs["base"]


def all_rows(found):
    (key,) = [stage["key"] for stage in found.all["stages"] if stage["name"] == "render"]
    return Examples.open(found.store.root / "objects" / key / "train.arrow")


def scores(found, name):
    """Scores by id, from the step `stages` of a run."""
    keys = [stage["key"] for stage in found.all["stages"] if stage["name"] == "stages"]
    lines = (found.store.root / "objects" / keys[0] / "stages.csv").read_text().splitlines()[1:]
    return {line.split(",")[0]: (float(line.split(",")[2]), int(line.split(",")[3])) for line in lines}


def test_stages_are_trained_from_easy_to_hard_each_from_the_one_before(arms):
    found = arms("{name: phased_ift, scorer: length, quantiles: [0.3, 0.6]}")
    assert [one["name"] for one in found.trained] == [f"phased_ift-stage-{number}" for number in (1, 2, 3)]
    told, given = scores(found, "length"), [found.store.given(one) for one in found.trained]
    ids = [one for rows, _ in given for one in rows]
    assert sorted(ids) == sorted(all_rows(found).column("id"))
    for number, (rows, _) in enumerate(given, 1):
        assert {told[one][1] for one in rows} == {number}
    worst = [max(told[one][0] for one in rows) for rows, _ in given]
    least = [min(told[one][0] for one in rows) for rows, _ in given]
    assert worst[0] <= least[1] <= worst[1] <= least[2]
    digests = [found.models[f"phased_ift-stage-{number}"]["digest"] for number in (1, 2, 3)]
    assert [start for _, start in given] == [found.models["base"]["digest"], *digests[:2]]
    assert found.models["phased_ift"]["digest"] == digests[2]
    assert [found.models[one["name"]]["role"] for one in found.trained] == ["checkpoint"] * 3
    scored = {row["model"] for row in found.all["results"]["scores"]}
    assert {one["name"] for one in found.trained} <= scored  # the matrix after each stage
    assert found.models["phased_ift"]["steps"] == sum(one["steps"] for one in found.trained)


def test_any_order_and_the_last_stage_only_and_random_ones(arms):
    turned = arms("{name: phased_ift, scorer: length, order: [3, 1, 2]}", until="train")
    assert [one["name"][-1] for one in turned.trained] == ["3", "1", "2"]
    alone = arms("{name: phased_ift, scorer: length, order: [3]}", until="train")
    (one,) = alone.trained
    assert one["reused"]  # from the base, the first of the run before
    random = arms("{name: phased_ift, scorer: length, at_random: true}", until="train")
    sizes = [Counter(stage for _, stage in scores(one, "length").values()) for one in (turned, random)]
    assert sizes[0] == sizes[1]
    assert {name for name, (_, stage) in scores(random, "length").items() if stage == 1} != {
        name for name, (_, stage) in scores(turned, "length").items() if stage == 1
    }


def test_a_carried_optimizer_is_one_training_over_the_stages_in_order(arms):
    found = arms("{name: phased_ift, scorer: length, optimizer: carried}", "train.args.num_train_epochs=2")
    (one,) = found.trained
    rows, start = found.store.given(one)
    assert start == found.models["base"]["digest"]
    told = scores(found, "length")
    stages = [told[row][1] for row in rows]
    assert stages == sorted(stages)
    assert Counter(rows) == dict.fromkeys(all_rows(found).column("id"), 2)
    settings = found.store.manifests[one["key"]]["settings"]["args"]
    assert settings["train_sampling_strategy"] == "sequential"
    assert settings["num_train_epochs"] == 1
    first = stages.count(1)
    assert [rows[:first] != sorted(rows[:first]), set(rows[: first // 2])] == [
        True,
        set(rows[first // 2 : first]),
    ]
    shares = sorted(model["share"] for model in found.models.values() if model["role"] == "checkpoint")
    steps = -(-len(rows) // 4)
    ends = [np.ceil(stages.index(number) / len(rows) * steps) / steps for number in (2, 3)]
    assert shares == pytest.approx([*ends, 1.0])


def test_a_sequential_training_reads_rows_in_their_order(arms, monkeypatch):
    """That transformers' sampler does what carrying relies on."""
    from transformers import Trainer, TrainingArguments

    from tests.tiny import tiny_model

    found = arms("{name: phased_ift, scorer: length, optimizer: carried}", until="train")
    folder = tiny_model(found.store.root / "sampler-model")
    from transformers import AutoModelForCausalLM

    arguments = TrainingArguments(output_dir=str(found.store.root / "o"), use_cpu=True, report_to="none",
                                  train_sampling_strategy="sequential", per_device_train_batch_size=4)  # fmt: skip
    data = [{"input_ids": [number], "labels": [number]} for number in range(10)]
    loader = Trainer(
        AutoModelForCausalLM.from_pretrained(folder), arguments, train_dataset=data
    ).get_train_dataloader()
    assert [one for batch in loader for one in batch["input_ids"].flatten().tolist()] == list(range(10))


def test_early_stages_dispersed_and_the_last_on_their_merge(arms):
    found = arms("{name: phased_ift, scorer: length, disperse: true}")
    names = [one["name"] for one in found.trained]
    assert names == ["submodel-0", "submodel-1", "phased_ift-stage-3"]
    given = [found.store.given(one) for one in found.trained]
    told = scores(found, "length")
    assert {told[one][1] for rows, _ in given[:2] for one in rows} == {1, 2}
    assert given[2][1] == found.models["phased_ift-merged"]["digest"]
    assert found.models["phased_ift"]["role"] == "merged"
    assert found.models["phased_ift"]["steps"] == sum(one["steps"] for one in found.trained)


def sources(found, stage):
    rows = found.store.rows(found.store.manifests[stage["key"]]["inputs"]["examples"])
    return Counter(rows.column("source"))


def test_special_rows_first_then_general_ones_with_a_share_of_them(arms):
    found = arms("{name: dual_stage_mixed, specialised: [adds], k: 0.25, at_least: 3}")
    whole = Counter(all_rows(found).column("source"))
    first, second = found.trained
    assert sources(found, first) == {"adds": whole["adds"]}
    assert sources(found, second) == {"colours": whole["colours"], "adds": round(whole["adds"] / 4)}
    assert found.store.given(second)[1] == found.models["dual_stage_mixed-1"]["digest"]
    few = arms("{name: dual_stage_mixed, specialised: [adds], k: 0.001, at_least: 3}", until="train")
    assert sources(few, few.trained[1])["adds"] == 3
    assert few.trained[0]["reused"]


@pytest.mark.parametrize(("strategy", "stages"), [
    ("mixed_sequential", [{"adds"}, {"colours"}]), ("multi_task", [{"adds", "colours"}]),
    ("one_stage, k: 0.2", [{"adds", "colours"}]), ("one_stage, k: 0.0", [{"colours"}]),
])  # fmt: skip
def test_the_other_strategies(arms, strategy, stages):
    found = arms(f"{{name: dual_stage_mixed, specialised: [adds], strategy: {strategy}}}", until="train")
    assert [set(sources(found, one)) for one in found.trained] == stages
    whole = Counter(all_rows(found).column("source"))
    assert sources(found, found.trained[-1])["colours"] == whole["colours"]
    if strategy == "multi_task":
        assert sources(found, found.trained[0]) == whole


def test_source_after_source_with_the_general_one_last(arms):
    recipe = "{name: dual_stage_mixed, specialised: [colours, adds], general: [more], strategy: sequential}"
    three = ", ".join(f"{{path: {name}.jsonl, source: {name}}}" for name in ("adds", "colours", "more"))
    found = arms(recipe, f"data=[{three}]", until="train")
    assert [list(sources(found, one)) for one in found.trained] == [["colours"], ["adds"], ["more"]]


def test_every_portion_of_the_second_stage_has_the_same_share(arms):
    found = arms("{name: dual_stage_mixed, specialised: [adds], k: 0.2, disperse: true}")
    first, *parts = found.trained
    assert [one["name"] for one in parts] == ["submodel-0", "submodel-1"]
    rows = [found.store.rows(found.store.manifests[one["key"]]["inputs"]["examples"]) for one in parts]
    replay = [{one for one, source in zip(part.column("id"), part.column("source"), strict=True) if source == "adds"}
              for part in rows]  # fmt: skip
    assert replay[0] == replay[1]
    assert len(replay[0]) == round(0.2 * sources(found, first)["adds"])
    whole = Counter(all_rows(found).column("source"))
    assert sum(Counter(part.column("source"))["colours"] for part in rows) == whole["colours"]
    stage_1 = found.models["dual_stage_mixed-1"]
    assert {found.store.given(one)[1] for one in parts} == {stage_1["digest"]}
    (merge,) = [one for one in found.all["stages"] if one["name"] == "merge dual_stage_mixed-merged"]
    assert found.store.manifests[merge["key"]]["inputs"]["base"] == stage_1["digest"]
    assert found.models["dual_stage_mixed"]["steps"] == sum(
        one["steps"] for one in found.trained
    )  # stage 1 once


@pytest.mark.parametrize(("recipe", "trained"), [
    ("{name: phased_ift, scorer: ifd, disperse: true}", ["submodel-0", "submodel-1", "phased_ift-stage-3"]),
    ("{name: phased_ift, scorer: loss, optimizer: carried}", ["phased_ift"]),
    ("{name: dual_stage_mixed, specialised: [adds], disperse: true}",
     ["dual_stage_mixed-1", "submodel-0", "submodel-1"]),
])  # fmt: skip
def test_a_plan_counts_what_waits_for_the_base(inputs, tmp_path, kept_launcher, recipe, trained):
    settings = [f"recipe={recipe}", f"output_dir={tmp_path}/run", "disperse.method=by_difficulty"]
    plan = run(write_run(inputs, tmp_path, TEXT), settings, dry_run=True, quiet=True, launcher=kept_launcher)
    planned = [row for row in plan["steps"] if row["kind"] == "train"]
    assert [row["step"] for row in planned] == trained
    assert all(row["planned"] and row["rows"] > 0 and row["steps"] > 0 for row in planned)


@pytest.mark.parametrize(("recipe", "told"), [
    ("{name: phased_ift, cuts: [2.0, 1.0]}", "recipe.cuts: .* does not rise"),
    ("{name: phased_ift, cuts: [1.0], quantiles: [0.5]}", "recipe.quantiles"),
    ("{name: phased_ift, quantiles: [0.5, 1.0]}", "not all between 0 and 1"),
    ("{name: phased_ift, order: [1, 4]}", "there is no stage 4"),
    ("{name: phased_ift, order: [1, 1]}", "names a stage twice"),
    ("{name: phased_ift, order: [3], disperse: true}", "recipe.disperse"),
    ("{name: phased_ift, optimizer: carried, disperse: true}", "recipe.optimizer"),
    ("{name: phased_ift, scorer: {name: lenght}}", "Did you mean 'length'"),
    ("dual_stage_mixed", "needs `specialised`"),
    ("{name: dual_stage_mixed, specialised: [ads]}", "recipe.specialised: there is no source of the data 'ads'"),
    ("{name: dual_stage_mixed, specialised: [adds], general: [adds]}", "'adds' is specialised already"),
    ("{name: dual_stage_mixed, specialised: [adds], k: 2.0}", "from 0 to 1"),
    ("{name: dual_stage_mixed, specialised: [adds], strategy: multi_task, disperse: true}", "recipe.disperse"),
])  # fmt: skip
def test_settings_that_cannot_be_are_told_before_any_work(arms, recipe, told):
    with pytest.raises(DtmError, match=told):
        arms(recipe, dry_run=True)


def test_a_stage_without_rows_says_where_the_scores_lie(arms):
    with pytest.raises(DtmError, match=r"no row falls into stage 1 of 2: scores by length go from"):
        arms("{name: phased_ift, scorer: length, cuts: [0.5]}", until="train")


def test_a_field_that_no_row_has_is_told(arms):
    with pytest.raises(DtmError, match=r"not one of \d+ rows could be scored"):
        arms("{name: phased_ift, scorer: {name: field, field: grade}}", until="train")
