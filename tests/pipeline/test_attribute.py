"""`dtm attribute`, searched weights and statistics in whole runs of a tiny model."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from dtm.foundations.errors import DtmError, MissingInput, StoreError
from dtm.foundations.files import write_json
from dtm.pipeline import run
from dtm.pipeline.attribute import attribute
from tests.pipeline.conftest import RUN, content, dtm, events, without, write_run


def results_of(out):
    return json.loads((out / "run" / "results.json").read_text())


def test_without_one_of_two_is_the_other_sub_model(undisturbed, tmp_path, monkeypatch):
    """K = 2: the merge without portion 0 is sub-model 1, which the run has evaluated; the run folder may move."""
    moved = tmp_path / "somewhere"
    shutil.copytree(undisturbed / "run", moved)
    monkeypatch.chdir(tmp_path)  # relative paths are relative to neither this folder nor the run folder
    found = attribute(moved, quiet=True)
    assert json.loads((moved / "attribution.json").read_text()) == found
    shown = json.loads((moved / "results.json").read_text())
    assert shown["attribution"] == found
    assert 'id="attribution"' in (moved / "report.html").read_text()
    results = results_of(undisturbed)["results"]
    losses = {(row["model"], row["source"]): row["loss"] for row in results["heldout"]}
    scores = {(row["model"], row["task"]): row["value"] for row in results["scores"] if row["primary"]}
    assert len(found["heldout"]) == 2 * len({source for _, source in losses})
    for row in found["heldout"]:
        other = f"submodel-{1 - row['portion']}"
        assert row["all"] == pytest.approx(losses["merged", row["source"]], rel=1e-6)
        assert row["without"] == pytest.approx(losses[other, row["source"]], rel=1e-5)
        assert row["difference"] == pytest.approx(row["without"] - row["all"], abs=1e-9)
        assert row["low"] <= row["difference"] <= row["high"]
    for row in found["tasks"]:
        assert row["without"] == scores[f"submodel-{1 - row['portion']}", "sums"]
        assert row["difference"] == pytest.approx(row["all"] - row["without"])


@pytest.mark.slow
def test_a_planted_harmful_portion_is_named(inputs, tmp_path):
    """Two sources of sums and one of noise that answers the same questions: leaving out the noise helps sums most."""
    chance = random.Random(1)
    noise, more = [], []
    for n in range(60):
        asked = f"Add {n} and {2 * n}."
        noise.append({"instruction": asked, "output": "".join(chance.choices("QXZJK#", k=12))})
        more.append({"instruction": asked, "output": f"{n} and {2 * n} make {3 * n}."})
    for name, rows in (("noise", noise), ("more", more)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = RUN.replace("method: kmeans, k: 2, dimensions: 8, on: both", "method: by_source, k: 3")
    text = text.replace("{path: colours.jsonl, source: colours}", "{path: more.jsonl, source: more}")
    text = text.replace("\ndisperse", "\n  - {path: noise.jsonl, source: noise}\ndisperse").replace(
        "1e-3", "3e-3"
    )
    done = dtm("run", write_run(inputs, tmp_path, text), "-s", "evaluate.models=[merged]")
    assert done.returncode == 0, done.stderr
    found = attribute(tmp_path / "run", quiet=True)
    card = json.loads((tmp_path / "run" / "portions" / "card.json").read_text())
    (harmful,) = [n for n, portion in enumerate(card) if "noise" in json.dumps(portion["sources"])]
    on_adds = {row["portion"]: row for row in found["heldout"] if row["source"] == "adds"}
    assert {portion for portion, row in on_adds.items() if row["verdict"] == "costs"} == {harmful}
    assert sum(row["verdict"] == "helps" for row in on_adds.values()) >= 1


@pytest.mark.slow
def test_a_run_searches_resumes_after_a_kill_and_is_found_again(undisturbed, inputs, tmp_path):
    settings = ["-s", "merge.weights={search: cma_es, budget: 9}"]
    runs = {}
    for name in ("whole", "killed"):
        (out := tmp_path / name).mkdir()
        without(undisturbed, out, "merge")
        path = write_run(inputs, out)
        if name == "killed":
            broken = dtm("run", path, *settings, fault="dtm.pipeline.scoring:measure:4", driver=True)
            assert broken.returncode == -9
            (journal,) = out.glob(".dtm-store/work/*/scratch/journal.jsonl")
            assert len(journal.read_text().splitlines()) == 3
        done = dtm("run", path, *settings)
        assert done.returncode == 0, done.stderr
        runs[name] = out
    assert content(runs["killed"]) == content(runs["whole"])
    merge = results_of(runs["whole"])["merge"]
    assert merge["search"] == results_of(runs["killed"])["merge"]["search"]
    assert merge["search"]["candidates"] == len(merge["search"]["path"]) == 9
    best = max(merge["search"]["path"], key=lambda entry: entry["score"])
    assert merge["weights"] == best["weights"]
    heldout = results_of(runs["whole"])["results"]["heldout"]
    (merged,) = [row["loss"] for row in heldout if (row["model"], row["source"]) == ("merged", "all")]
    assert merged == pytest.approx(-best["score"], rel=1e-6)  # of the folder, as scored in memory
    again = dtm("run", runs["whole"] / "run.yaml", *settings)
    assert again.returncode == 0
    assert set(events(runs["whole"]).values()) == {"reused"}


@pytest.mark.parametrize(("method", "statistic"), [("fisher", "fisher"), ("regmean", "gram")])
def test_a_run_gathers_the_statistics_that_its_method_needs(undisturbed, inputs, tmp_path, method, statistic):
    without(undisturbed, tmp_path)
    path = write_run(inputs, tmp_path)
    settings = (
        "-s",
        f"merge.method={method}",
        "-s",
        "merge.statistics.rows=3",
        "-s",
        "evaluate.models=[merged]",
    )
    done = dtm("run", path, *settings)
    assert done.returncode == 0, done.stderr
    redone = {step for step, what in events(tmp_path).items() if what == "done"}
    gathered = {f"{statistic} submodel-{k}" for k in range(2)}
    assert redone == {*gathered, "merge", "merged sums", "merged held-out loss"}
    assert results_of(tmp_path)["merge"]["fallbacks"] == {}
    if statistic == "gram":
        return
    done = dtm("run", path, *settings, "-s", "merge.weights=[0.9, 0.1]", "--dry-run", "--json")
    plan = {row["step"]: row["reused"] for row in json.loads(done.stdout)["steps"]}
    assert not plan["merge"]
    assert all(plan[step] for step in gathered)


def test_dry_run_plans_a_search_and_statistics_without_doing_them(undisturbed, inputs, tmp_path):
    without(undisturbed, tmp_path)
    done = dtm("run", write_run(inputs, tmp_path), "--dry-run", "--json", "-s", "merge.method=fisher",
               "-s", "merge.weights={search: greedy, budget: 5}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    plan = {row["step"]: row for row in json.loads(done.stdout)["steps"]}
    assert all(not plan[step]["reused"] for step in ("fisher submodel-0", "search", "merge"))
    assert plan["submodel-0"]["reused"]


def test_nothing_is_trained_and_what_is_no_run_is_told(undisturbed, tmp_path):
    with pytest.raises(MissingInput, match="no run was here"):
        attribute(tmp_path, quiet=True)
    without(undisturbed, tmp_path, "train")
    shutil.copytree(undisturbed / "run", tmp_path / "run")
    origin = json.loads((tmp_path / "run" / "origin.json").read_text())
    write_json(tmp_path / "run" / "origin.json", {**origin, "store": str(tmp_path / ".dtm-store")})
    with pytest.raises(StoreError, match=r"submodel-0 is no longer in the store.*dtm run"):
        attribute(tmp_path / "run", quiet=True)
    assert not list((tmp_path / ".dtm-store").glob("work/*/scratch/*"))


MISTAKES = {
    "wrong search": ("weights: {search: cma}", r"'cma' will not do: it should be 'cma_es', 'greedy'"),
    "wrong key": ("weights: {search: greedy, budgett: 9}", r"no such key.*Did you mean `budget`"),
    "too small a budget": ("weights: {search: greedy, budget: 2}", r"2 candidates are too few.*at least 3"),
    "unknown dev task": ("weights: {search: greedy, tasks: [sumz]}", r"no task of dev.tasks 'sumz'"),
    "no row": ("statistics: {rows: 0}", r"greater than or equal to 1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_before_work(inputs, tmp_path, monkeypatch, mistake):
    said, message = MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DtmError, match=f"(?s){message}"):
        run(write_run(inputs, tmp_path, RUN + f"merge: {{{said}}}\n"), quiet=True)
    assert not (tmp_path / ".dtm-store").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("dev: {fraction: 0.1}", "dev: {fraction: 0}"), "nothing to search on"),
        (("k: 2,", "k: 1,"), "no weights to search for"),
        (("dev: {fraction: 0.1}", "dev: {tasks: [{name: mine, path: sums.jsonl}]}"),
         r"(\d+) of \1 items of dev task 'mine' would be test items too, in 'sums'"),
    ],
)  # fmt: skip
def test_searches_that_cannot_be_are_told_before_work(inputs, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    text = RUN.replace(*change) + "merge: {weights: {search: greedy}}\n"
    with pytest.raises(DtmError, match=message):
        run(write_run(inputs, tmp_path, text), quiet=True)
    assert not (tmp_path / ".dtm-store").exists()
