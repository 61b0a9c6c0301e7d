"""Dispersing by what the base makes of the rows, in a run: each signal once, kept, and planned without being made."""

from __future__ import annotations

import csv
import json
from collections import Counter
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from dtm.foundations.errors import ConfigError, DataError
from dtm.foundations.launch import LocalLauncher
from dtm.foundations.store import Artifact
from dtm.pipeline import run
from dtm.pipeline.plan import show
from dtm.pipeline.rows import model_digest
from tests.pipeline.conftest import RUN, events, write_run

KMEANS = "disperse: {method: kmeans, k: 2, dimensions: 8, on: both}"


@pytest.fixture(scope="module")
def launcher():
    with LocalLauncher(workers=1, threads=1) as kept:
        yield kept


@pytest.fixture(scope="module")
def place(inputs, tmp_path_factory, launcher):
    """A function that disperses by a section, over one store."""
    out = tmp_path_factory.mktemp("signals")

    def disperse(section, recipe="disperse_then_merge", **more):
        file = write_run(inputs, out, RUN.replace(KMEANS, f"disperse: {section}"))
        settings = [f"output_dir={out / 'run'}", f"recipe={recipe}"]
        return run(file, settings, quiet=True, launcher=launcher, **{"until": "disperse", **more})

    return out, disperse


def assignment(out):
    with open(out / "run" / "portions" / "assignment.csv", encoding="utf-8") as file:
        return [(row["source"], int(row["portion"])) for row in csv.DictReader(file)]


def stored(out, step):
    """The folders in the store of what that step made."""
    manifests = (out / ".dtm-store" / "objects").glob("*/manifest.json")
    return [path.parent for path in manifests if json.loads(path.read_text())["step"] == step]


def test_easy_and_hard_rows_part_by_the_loss_of_the_base(place):
    out, disperse = place
    disperse("{method: by_difficulty, k: 2}")
    [folder] = stored(out, "losses")
    loss, portions = np.load(folder / "loss.npy"), np.array([portion for _, portion in assignment(out)])
    assert loss[portions == 0].max() <= loss[portions == 1].min()
    assert events(out)["base loss"] == "done"
    disperse("{method: loss_profile, k: 3}")
    assert len(stored(out, "losses")) == 1
    assert events(out)["base loss"] == "reused"


def test_the_bases_hidden_states_embed_each_side_once(place):
    """Questions about sums and about colours are told apart; another k asks the base nothing."""
    out, disperse = place
    how = "embedder: base, on: instruction, dimensions: 8"
    disperse(f"{{method: kmeans, k: 3, {how}}}")
    disperse(f"{{method: kmeans, k: 2, balanced: false, {how}}}")
    assert len(stored(out, "hidden")) == 1
    counts = Counter(assignment(out))
    assert min(counts["adds", 0], counts["adds", 1]) + min(counts["colours", 0], counts["colours", 1]) < 5
    assert (counts["adds", 0] > counts["adds", 1]) == (counts["colours", 0] < counts["colours", 1])
    disperse("{method: kmeans, k: 2, embedder: base, on: response, dimensions: 8}")
    assert len(stored(out, "hidden")) == 2


def test_sources_and_clusters_stay_whole_when_gradients_part_them(place):
    out, disperse = place
    disperse("{method: gradient, k: 2, gradients: {rows: 5, sketch: 64}}")
    assert len({source for source, _ in assignment(out)}) == len(set(assignment(out))) == 2
    [folder] = stored(out, "group_gradients")
    assert json.loads((folder / "manifest.json").read_text())["facts"] == {
        "rows": 10,
        "groups": 2,
        "dimensions": 64,
    }
    disperse(
        "{method: gradient, k: 4, sources: discovered, dimensions: 8, gradients: {rows: 3, sketch: 64, clusters: 6}}"
    )
    [clusters] = stored(out, "clusters")
    groups = np.load(clusters / "groups.npy")
    portions = [portion for _, portion in assignment(out)]
    assert len(set(zip(groups.tolist(), portions, strict=True))) == len(set(groups)) == 6
    assert set(portions) == {0, 1, 2, 3}


def test_after_a_warm_up_gradients_are_those_of_the_warmed_model(place):
    out, disperse = place
    before = {folder.name for folder in stored(out, "group_gradients")}
    how = "{method: gradient, k: 2, gradients: {rows: 5, sketch: 64}}"
    disperse(how, recipe="{name: disperse_then_merge, warmup: 0.2}")
    [folder] = [one for one in stored(out, "group_gradients") if one.name not in before]
    used = json.loads((folder / "manifest.json").read_text())["inputs"]["base"]
    [merged] = stored(out, "merge")  # the warm-up's adapter, in the base
    files = json.loads((merged / "manifest.json").read_text())["files"]
    assert used == model_digest(Artifact("", merged, {"files": files}))
    planned = disperse(how, recipe="{name: disperse_then_merge, warmup: 0.3}", dry_run=True)
    assert {step["step"] for step in planned["steps"] if step["planned"]} >= {
        "warmup",
        "gradients",
        "disperse",
    }


def test_gradients_of_rows_are_those_of_the_adapter_that_will_be_trained(place):
    out, disperse = place
    disperse("{method: gradient_kmeans, k: 3, gradients: {sketch: 32}}")
    [folder] = stored(out, "row_gradients")
    settings = json.loads((folder / "manifest.json").read_text())["settings"]
    assert settings["lora"]["r"] == 4
    assert np.load(folder / "gradient.npy").shape == (len(assignment(out)), 32)
    sizes = np.bincount([portion for _, portion in assignment(out)])
    assert np.ptp(sizes) <= 1


def test_a_plan_says_what_would_be_computed_and_computes_nothing(inputs, tmp_path, launcher):
    text = RUN.replace(KMEANS, "disperse: {method: by_difficulty, k: 3}")
    plan = run(write_run(inputs, tmp_path, text), [f"output_dir={tmp_path / 'run'}"], dry_run=True, quiet=True,
               launcher=launcher)  # fmt: skip
    steps = {step["step"]: step for step in plan["steps"]}
    assert steps["base loss"]["planned"]
    assert steps["disperse"]["planned"]
    rows = [steps[f"submodel-{part}"]["rows"] for part in range(3)]
    assert sum(rows) == steps["base loss"]["rows"]
    assert np.ptp(rows) <= 1
    assert not stored(tmp_path, "losses")


def test_a_probe_times_training_though_portions_wait_and_says_what_is_not_timed(place):
    _, disperse = place
    how = "{method: gradient, k: 2, gradients: {rows: 4, sketch: 64}}"
    disperse(how.replace("rows: 4", "rows: 2"))
    plan = disperse(how, until="train", dry_run=True, probe=True)
    rows = {step["step"]: step for step in plan["steps"]}
    assert rows["gradients"]["planned"]
    assert rows["gradients"]["seconds"] > 0  # as other gradients of this base took
    assert plan["totals"]["tokens_per_second"] > 0
    assert plan["totals"]["training_seconds"] == pytest.approx(
        plan["totals"]["training_tokens"] / plan["totals"]["tokens_per_second"]
    )
    assert plan["totals"]["untimed"] == []
    plan = disperse(how, recipe="{name: disperse_then_merge, warmup: 0.4}", dry_run=True)
    assert plan["totals"]["untimed"] == ["gradients"]
    console = Console(file=StringIO(), width=200)
    show(plan, console)
    assert "no such step was done here before: gradients." in " ".join(console.file.getvalue().split())


@pytest.mark.parametrize(("section", "message"), [
    ("{method: gradient, k: 3}", r"run.yaml:\d+: disperse.k: 'gradient' halves along axes, and 3 is no power of 2"),
    ("{method: gradient, k: 4, sources: discovered, gradients: {clusters: 3}}", "3 clusters cannot fill 4 portions"),
    ("{method: gradient, sources: discovered, embedder: bas}", "no embedder method 'bas'"),
    ("{method: gradient, k: 2, gradients: {row: 3}}", r"disperse.gradients.row: there is no such key.*`rows`"),
    ("{method: kmeans, k: 2, embedder: {name: base, center: false}}", r"'center'.*'centre'"),
    ("{method: gradient, k: 2, halves: crosed}", "'nested', 'crossed'"),
])  # fmt: skip
def test_mistakes_are_told_before_any_work(place, section, message):
    with pytest.raises((ConfigError, LookupError), match=message):
        place[1](section)


def test_fewer_sources_than_portions_are_told_before_gradients_are_taken(place):
    out, disperse = place
    before = len(stored(out, "group_gradients"))
    with pytest.raises(DataError, match=r"2 sources cannot fill 4 portions.*sources: discovered"):
        disperse("{method: gradient, k: 4}")
    assert len(stored(out, "group_gradients")) == before
