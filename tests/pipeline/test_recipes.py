"""Each recipe on a tiny model, two steps a training, LoRA and full: what it made against fp64, and what it told."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from dtm.foundations.errors import ConfigError
from dtm.foundations.launch import LocalLauncher
from dtm.foundations.registry import registry
from dtm.foundations.store import Artifact
from dtm.pipeline import run
from dtm.pipeline.attribute import attribute
from dtm.pipeline.rows import model_digest
from dtm.report import validate
from tests.pipeline.conftest import RUN, write_run

TEXT = (
    RUN.replace("method: kmeans, k: 2, dimensions: 8, on: both", "method: random, k: 2")
    .replace("num_train_epochs: 1", "max_steps: 2")
    .replace("lora_dropout: 0.1", "lora_dropout: 0.0")
    .replace("models: [base, submodels, merged]", "models: [base]")
)
FULL = TEXT.replace("  lora: {r: 4, lora_alpha: 8, lora_dropout: 0.0}\n", "")


@pytest.fixture(scope="module")
def launcher():
    with LocalLauncher(workers=1, threads=1) as one:
        yield one


@pytest.fixture(scope="module", params=["lora", "full"])
def arms(request, launcher, inputs, tmp_path_factory):
    """Run a recipe over one store; returns its results, its folder and the store's."""
    out = tmp_path_factory.mktemp(request.param)
    write_run(inputs, out)

    def run_recipe(recipe, *settings):
        shutil.rmtree(out / "run", ignore_errors=True)
        path = write_run(inputs, out, TEXT if request.param == "lora" else FULL)
        more = [f"recipe={recipe}", f"output_dir={out}/run", f"store={out}/store", *settings]
        results = run(path, more, quiet=True, launcher=launcher)
        validate(results)
        return SimpleNamespace(all=results, store=out / "store", folder=out / "run", **results["results"],
                               lora=request.param == "lora")  # fmt: skip

    return run_recipe


def weights(found, name):
    """The model's weights in fp64, an adapter's update added to its base's."""
    (row,) = [model for model in found.models if model["name"] == name]
    places = {"merged": "merged", "baseline": f"baselines/{name}", "checkpoint": f"checkpoints/{name}"}
    return dense(found, found.folder / places[row["role"]])


def dense(found, folder, start=None):
    """A model's weights; `start` is what its adapter was trained on, by default the base."""
    if (folder / "model.safetensors").exists():
        return {name: one.astype(np.float64) for name, one in load_file(folder / "model.safetensors").items()}
    whole, adapter = dict(start or base(found)), load_file(folder / "adapter_model.safetensors")
    for name in whole:
        stem = "base_model.model." + name.removesuffix(".weight")
        if f"{stem}.lora_A.weight" in adapter:
            A, B = (adapter[f"{stem}.lora_{side}.weight"].astype(np.float64) for side in "AB")
            whole[name] = whole[name] + 8 / 4 * (B @ A)
    return whole


def base(found):
    return dense(found, prepared(found))


def prepared(found):
    """The folder of the prepared base."""
    (folder,) = [path.parent for path in found.store.glob("objects/*/manifest.json")
                 if json.loads(path.read_text())["step"] == "prepare_base"]  # fmt: skip
    return folder


def made_by(found, step):
    """Manifests of that step's artifacts, each with its folder."""
    manifests = {
        path.parent: json.loads(path.read_text()) for path in found.store.glob("objects/*/manifest.json")
    }
    return [{**one, "folder": folder} for folder, one in manifests.items() if one["step"] == step]


def trainings(found):
    """Keys of trainings that were done, not taken out of a larger one."""
    keys = set()
    for path in found.store.glob("objects/*/manifest.json"):
        manifest = json.loads(path.read_text())
        if manifest["step"] == "train":
            fields = {**manifest["settings"], "checkpoints": None}
            keys.add(json.dumps([fields, manifest["inputs"], manifest["seed"]], sort_keys=True))
    return keys


def close(found, expected):
    assert found.keys() == expected.keys()
    for name, one in expected.items():
        np.testing.assert_allclose(found[name], one, rtol=3e-7, atol=1e-8, err_msg=name)


def final(found):
    """The row of what the recipe made."""
    return [model for model in found.models if model["role"] in ("merged", "baseline")][-1]


def test_early_stopping_takes_the_best_checkpoint_on_dev_and_is_charged_with_all(arms):
    found = arms("{name: early_stopping, checkpoints: 2}", "evaluate.models=[base, checkpoints]")
    (choice,) = found.choices
    assert choice["for"] == "early_stopping"
    assert choice["on"] == "dev"
    assert choice["metric"] == "minus the held-out loss"
    scores = {one["name"]: one["score"] for one in choice["candidates"]}
    losses = {row["model"]: row["loss"] for row in found.heldout if row["source"] == "all"}
    assert scores == {name: -losses[name] for name in scores}
    assert choice["chosen"] == max(scores, key=scores.__getitem__)
    digests = {model["name"]: model["digest"] for model in found.models}
    assert final(found)["name"] == "early_stopping"
    assert digests["early_stopping"] == digests[choice["chosen"]]
    assert final(found)["steps"] == 2


def test_checkpoint_average_is_the_mean_of_the_late_ones(arms):
    found = arms("{name: checkpoint_average, checkpoints: 2, share: 0.6}", "evaluate.models=[checkpoints]",
                 "baselines=[{name: vanilla_sft, checkpoints: 2}]")  # fmt: skip
    points = [weights(found, model["name"]) for model in found.models if model["role"] == "checkpoint"]
    assert len(points) == 2
    close(
        weights(found, "checkpoint_average"),
        {name: (points[0][name] + points[1][name]) / 2 for name in points[0]},
    )
    assert final(found)["steps"] == 2
    late = arms("{name: checkpoint_average, checkpoints: 2, share: 0.5}")
    close(weights(late, "checkpoint_average"), points[1])


def test_wise_ft_is_on_the_line_and_its_alpha_may_be_chosen(arms):
    found = arms("{name: wise_ft, alpha: 0.25}", "baselines=[vanilla_sft]")
    start, end = base(found), weights(found, "vanilla_sft")
    close(weights(found, "wise_ft"), {name: 0.75 * start[name] + 0.25 * end[name] for name in start})
    assert final(found)["role"] == "merged"
    assert found.all["merge"]["settings"]["alpha"] == 0.25
    chosen = arms("{name: wise_ft, alpha: dev, grid: [0.0, 0.5, 1.0]}")
    (choice,) = chosen.choices
    assert [one["name"] for one in choice["candidates"]] == ["wise_ft@0", "wise_ft@0.5", "wise_ft@1"]
    best = max(choice["candidates"], key=lambda one: one["score"])
    assert choice["chosen"] == best["name"]
    at = float(best["name"].split("@")[1])
    close(weights(chosen, "wise_ft"), {name: (1 - at) * start[name] + at * end[name] for name in start})


def test_uniform_soup_is_the_mean_of_its_ingredients_and_shares_vanillas_training(arms):
    arms("vanilla_sft")
    found = arms("{name: uniform_soup, learning_rates: [1.0e-3, 2.0e-3], seeds: [0, 1]}")
    before = trainings(found)
    learnt = [weights(arms("vanilla_sft", f"train.args.learning_rate={rate}"), "vanilla_sft")
              for rate in ("1e-3", "2e-3")]  # fmt: skip
    assert trainings(found) == before  # seed 0 is vanilla's own
    assert final(found)["steps"] == 8
    alone = arms("{name: uniform_soup, learning_rates: [1.0e-3, 2.0e-3]}")
    close(
        weights(alone, "uniform_soup"), {name: (learnt[0][name] + learnt[1][name]) / 2 for name in learnt[0]}
    )


def test_greedy_soup_follows_the_papers_algorithm(arms):
    rates = ["1.0e-3", "2.0e-3", "1.0e-1"]
    found = arms(f"{{name: greedy_soup, learning_rates: [{', '.join(rates)}]}}", "baselines=[vanilla_sft]")
    first, *trials = found.choices
    scores = {one["name"]: one["score"] for one in first["candidates"]}
    order = sorted(scores, key=lambda name: -scores[name])
    soup, best = [order[0]], scores[order[0]]
    assert len(trials) == len(order) - 1
    for name, trial in zip(order[1:], trials, strict=True):
        larger, smaller = trial["candidates"]
        assert smaller["score"] == pytest.approx(best, rel=1e-6)
        assert larger["name"] == f"{smaller['name']} + {name}"
        if larger["score"] >= smaller["score"]:
            soup, best = [*soup, name], larger["score"]
            assert trial["chosen"] == larger["name"]
        else:
            assert trial["chosen"] == smaller["name"]
    assert final(found)["steps"] == 6
    assert found.all["merge"]["models"] == soup


def test_sequential_trains_on_from_where_the_portion_before_ended(arms):
    found = arms("sequential")
    assert final(found)["name"] == "sequential"
    assert final(found)["steps"] == 4
    keys = {stage["name"]: stage["key"] for stage in found.all["stages"]}
    first, second = (manifest(found, keys[f"sequential-{k}"]) for k in (0, 1))
    left = "merge sequential-0" if found.lora else "sequential-0"
    assert first["inputs"]["base"] == manifest(found, keys["prepare base"])["model"]
    assert second["inputs"]["base"] == manifest(found, keys[left])["model"]
    if found.lora:
        merged, adapter = (found.store / "objects" / keys[name] for name in (left, "sequential-0"))
        close(dense(found, merged), dense(found, adapter))
    again = arms("sequential")
    assert all(stage["reused"] for stage in again.all["stages"])


def manifest(found, key):
    """What the store says of a step, and as `model` the digest that steps behind it have of its model."""
    content = json.loads((found.store / "objects" / key / "manifest.json").read_text())
    return {**content, "model": model_digest(Artifact(key, found.store / "objects" / key, content))}


def test_norm_matched_is_vanilla_at_the_distance_of_the_merge(arms):
    found = arms("norm_matched", "baselines=[vanilla_sft, disperse_then_merge]")
    start, vanilla = base(found), weights(found, "vanilla_sft")
    merged, matched = weights(found, "disperse_then_merge"), weights(found, "norm_matched")
    alpha = distance(merged, start) / distance(vanilla, start)
    assert 0 < alpha < 1
    assert found.all["merge"]["settings"]["alpha"] == pytest.approx(alpha, rel=1e-5)
    close(matched, {name: start[name] + alpha * (vanilla[name] - start[name]) for name in start})
    assert distance(matched, start) == pytest.approx(distance(merged, start), rel=1e-4)
    assert final(found)["steps"] == 6


def distance(one, other):
    """The Euclidean norm of the difference of all weights, in fp64."""
    return np.sqrt(sum(np.square(one[name] - other[name]).sum() for name in one))


def test_a_warm_up_is_where_sub_models_and_their_merge_start(arms):
    found = arms("{name: disperse_then_merge, warmup: 0.1}", "evaluate.models=[base, submodels, merged]")
    (drawn,) = made_by(found, "draw")
    rows = drawn["facts"]["rows"]
    assert rows == round(0.1 * found.all["data"]["train"])
    (warmup,) = [one for one in made_by(found, "train")
                 if one["inputs"]["examples"] == drawn["files"]["rows.arrow"]]  # fmt: skip
    warm = dense(found, warmup["folder"])
    ends = [dense(found, found.folder / "submodels" / part, warm) for part in "01"]
    close(weights(found, "merged"), {name: (ends[0][name] + ends[1][name]) / 2 for name in warm})
    assert any((warm[name] != one).any() for name, one in base(found).items())
    steps = {model["name"]: model["steps"] for model in found.models}
    short = warmup["facts"]["steps"]
    assert short == -(-rows // 4)  # one pass, whatever max_steps says of the sub-models
    assert steps == {"base": 0, "submodel-0": short + 2, "submodel-1": short + 2, "merged": short + 4}
    tokens = {model["name"]: model["tokens"] for model in found.models}
    spent = warmup["facts"]["tokens"]
    assert tokens["merged"] == tokens["submodel-0"] + tokens["submodel-1"] - spent
    if found.lora:
        alone = attribute(found.folder, quiet=True)
        loss = {row["model"]: row["loss"] for row in found.heldout if row["source"] == "all"}
        without = {row["portion"]: row["without"] for row in alone["heldout"] if row["source"] == "all"}
        assert without == pytest.approx({0: loss["submodel-1"], 1: loss["submodel-0"]}, rel=1e-5)


def test_an_adapter_of_a_warmed_model_is_refused(arms):
    with pytest.raises(
        ConfigError, match=r"recipe.warmup: after a warm-up an adapter would sit on the warmed"
    ):
        arms("{name: disperse_then_merge, warmup: 0.1}", "merge.export=adapter", "train.lora={r: 4}")
    with pytest.raises(ConfigError, match="from 0 to 1"):
        arms("{name: disperse_then_merge, warmup: 1.5}")


def test_a_sub_model_alone_and_the_mean_over_them(arms):
    alone = [arms(f"{{name: submodel, index: {k}}}") for k in (0, 1)]
    mean = arms("submodel")
    losses = [loss(found, "submodel") for found in alone]
    assert losses[0] != losses[1]
    assert loss(mean, "submodel") == pytest.approx(sum(losses) / 2, rel=1e-12)
    rows = [[row for row in found.scores if row["model"] == "submodel"] for found in (*alone, mean)]
    for one, other, both in zip(*rows, strict=True):
        assert both["value"] == pytest.approx((one["value"] + other["value"]) / 2)
        assert both["n"] == one["n"]
    assert final(mean)["steps"] == 2
    assert final(mean)["tokens"] == sum(final(found)["tokens"] for found in alone) // 2
    assert not (mean.folder / "baselines").exists()


def loss(found, name):
    return next(row["loss"] for row in found.heldout if row["model"] == name and row["source"] == "all")


def test_the_ensemble_averages_probabilities_not_weights(arms):
    import torch
    from transformers import AutoModelForCausalLM

    from dtm.foundations.types import Examples

    found = arms(
        "ensemble", "baselines=[disperse_then_merge]", "evaluate.models=[base, submodels, baselines]"
    )
    parts = [dense(found, found.folder / "submodels" / str(k)) for k in (0, 1)]
    model = AutoModelForCausalLM.from_pretrained(prepared(found), dtype=torch.float64)
    (rows,) = found.store.glob("objects/*/dev.arrow")
    total, count = 0.0, 0
    for row in Examples.open(rows).rows():
        shares = []
        for part in parts:
            model.load_state_dict({name: torch.from_numpy(one) for name, one in part.items()}, strict=False)
            model.tie_weights()
            with torch.no_grad():
                shares.append(model(torch.tensor([row["input_ids"]])).logits[0].softmax(-1))
        logs = ((shares[0] + shares[1]) / 2).log()
        for place, said in enumerate(row["assistant_mask"]):
            if said:
                total, count = total - float(logs[place - 1, row["input_ids"][place]]), count + 1
    assert loss(found, "ensemble") == pytest.approx(total / count, rel=1e-5)
    assert loss(found, "ensemble") != pytest.approx(loss(found, "disperse_then_merge"), rel=1e-6)
    assert final(found)["steps"] == 4


@pytest.mark.parametrize("recipe", sorted(set(registry("recipe"))))
def test_a_plan_trains_nothing_and_adds_up(launcher, inputs, tmp_path, recipe):
    path = write_run(inputs, tmp_path, TEXT)
    settings = [f"recipe={recipe}", f"output_dir={tmp_path}/run", f"store={tmp_path}/store"]
    own = {"wise_ft": "alpha: dev", "dual_stage_mixed": "specialised: [adds]"}
    if recipe in own:
        settings[0] = f"recipe={{name: {recipe}, {own[recipe]}}}"
    if recipe == "demorecon":  # no row of these has a constraint
        settings.append("augment.attach=1.0")
    plan = run(path, settings, dry_run=True, quiet=True, launcher=launcher)
    kinds = {row["kind"] for row in plan["steps"] if row["planned"]}
    assert {"train", "evaluate", "heldout"} <= kinds
    done = {
        json.loads(one.read_text())["step"] for one in (tmp_path / "store").glob("objects/*/manifest.json")
    }
    known = {"prepare_base", "load", "contamination", "render", "embedded_sample", "disperse", "augment"}
    assert done <= known | {"of_sources", "share", "mix"}
    scored = [row["seconds"] for row in plan["steps"] if row["kind"] in ("evaluate", "heldout")]
    assert plan["totals"]["evaluation_seconds"] == pytest.approx(sum(scored))
    assert plan["totals"]["evaluation_guessed"]
    assert min(scored) > 0


@pytest.mark.parametrize(
    ("recipe", "trained"), [("norm_matched", 3), ("sequential", 2), ("early_stopping", 1)]
)
def test_a_run_that_stops_after_training_has_trained_all(launcher, inputs, tmp_path, recipe, trained):
    path = write_run(inputs, tmp_path, TEXT)
    settings = [f"recipe={recipe}", f"output_dir={tmp_path}/run", f"store={tmp_path}/store"]
    results = run(path, settings, until="train", quiet=True, launcher=launcher)
    done = [stage for stage in results["stages"] if stage["steps"]]
    assert len(done) == trained
    assert not results["results"]["scores"]


def test_arms_of_one_seed_train_vanilla_once_if_its_checkpoints_were_kept(arms):
    first = arms("{name: vanilla_sft, checkpoints: 2}", "train.args.learning_rate=5e-3")
    kept = [f"{{name: {name}, checkpoints: 2}}" for name in ("early_stopping", "checkpoint_average")]
    for recipe in ("vanilla_sft", *kept, "wise_ft", "norm_matched", "uniform_soup"):
        found = arms(recipe, "train.args.learning_rate=5e-3")
        trained = [
            stage
            for stage in found.all["stages"]
            if stage["steps"] and not stage["name"].startswith("submodel")
        ]
        assert trained
        assert all(stage["reused"] for stage in trained), recipe
    digest = final(first)["digest"]
    assert final(arms("vanilla_sft", "train.args.learning_rate=5e-3"))["digest"] == digest


def test_dev_tasks_decide_and_finished_models_are_scored_on_them(arms, tmp_path):
    rows = [
        {"query": f"Question: What is {n} + 2?", "choices": [str(n + 2), str(n)], "gold": n % 2}
        for n in range(9)
    ]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dev = ("dev.tasks=[{name: sums_dev, path: %s}]" % (tmp_path / "dev.jsonl"), "evaluate.dev=true",
           "evaluate.format=both", "evaluate.models=[base, baselines]")  # fmt: skip
    found = arms("{name: wise_ft, alpha: dev, grid: [0.0, 1.0]}", "baselines=[submodel]", *dev)
    (choice,) = found.choices
    assert choice["metric"] == "mean of sums_dev"
    told = {row["model"]: row for row in found.dev}
    assert told.keys() == {"base", "submodel", "wise_ft"}
    for row in told.values():
        assert row["tasks"].keys() == {"sums_dev", "sums_dev (chat)"}
        assert row["score"] == pytest.approx(sum(row["tasks"].values()) / 2)
        assert row["loss"] is None
    scores = {one["name"]: one["score"] for one in choice["candidates"]}
    assert scores["wise_ft@0"] == told["base"]["score"]  # alpha 0 is the base itself
    assert told["wise_ft"]["score"] == max(scores.values())
    again = arms("{name: wise_ft, alpha: dev, grid: [0.0, 1.0]}", "baselines=[submodel]", *dev)
    assert all(stage["reused"] for stage in again.all["stages"])
