"""A study as a whole: what it writes, what arms share, that kills and failures do no harm, and its status."""

from __future__ import annotations

import fcntl
import io
import json
import shutil
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from typer.testing import CliRunner

from dtm.cli import app
from dtm.foundations.errors import MissingInput
from dtm.pipeline import watching
from dtm.pipeline.journal import LOCK
from dtm.study.status import STUDY as WATCHED
from dtm.study.status import is_study, status_of_study, view
from tests.study.conftest import STUDY, dtm, write_study

LATER = datetime.now(UTC) + timedelta(days=1)


def study_of(out):
    return json.loads((out / "study" / "study.json").read_text())


def without_timing(results):
    return {**results, "timing": None, "command": None}


def steps_in(out):
    """How often each step was done; what a training kept on its way are further artifacts of that training."""
    manifests = [
        json.loads(path.read_text()) for path in (out / ".dtm-store" / "objects").glob("*/manifest.json")
    ]
    return Counter(one["step"] for one in manifests if "checkpoints" not in one["settings"])


def test_study_json_holds_every_arm_under_every_seed(undisturbed):
    results = study_of(undisturbed)
    arms = {arm["name"]: arm for arm in results["arms"]}
    assert results["seeds"] == [0, 1]
    seeds = {"vanilla": [0, 1], "dtm": [0, 1], "dtm-clusters": [0], "early": [0, 1]}
    assert {name: arm["seeds"] for name, arm in arms.items()} == seeds
    assert {name: (arm["claim"], arm["screening"]) for name, arm in arms.items()} == {
        "vanilla": (True, False), "dtm": (True, False), "dtm-clusters": (False, True), "early": (True, False),
    }  # fmt: skip
    assert arms["dtm"]["grid"]["tuned_as"] == arms["dtm-clusters"]["grid"]["tuned_as"] == "dtm"
    assert arms["dtm"]["steps"] == 2 * arms["vanilla"]["steps"] == 4
    scores = [point["score"] for point in arms["dtm"]["grid"]["points"]]
    assert arms["dtm"]["grid"]["chosen"] == scores.index(max(scores))
    assert arms["dtm"]["point"] == arms["dtm"]["grid"]["points"][arms["dtm"]["grid"]["chosen"]]["values"]
    assert [one["arms"] for one in results["splits"]["splits"]] == [
        ["dtm"],
        ["dtm-clusters"],
    ]  # others part nothing
    (pair,) = results["splits"]["pairs"]
    assert pair["seeds"] == [0]
    assert abs(pair["adjusted_rand"]) < 0.2


def test_arms_that_were_only_screened_enter_no_family(undisturbed):
    rows = [row for row in study_of(undisturbed)["comparisons"] if not row["oracle"]]
    assert {row["verdict"] for row in rows if row["arm"] == "dtm-clusters"} == {"screened"}
    assert all((row["p_holm"] is None) == (row["arm"] == "dtm-clusters") for row in rows)


def test_items_hold_what_the_scores_are_made_of(undisturbed):
    import pyarrow.parquet as parquet

    rows = parquet.read_table(undisturbed / "study" / "items.parquet").to_pylist()
    table = [row for row in rows if row["share"] is None]
    for arm in study_of(undisturbed)["arms"]:
        for seed, value in arm["scores"][0]["by_seed"].items():
            found = [row["value"] for row in table if row["arm"] == arm["name"] and row["seed"] == int(seed)]
            assert len(found) == 12
            assert sum(found) / 12 == pytest.approx(value)


def test_arms_share_the_steps_that_they_share(undisturbed):
    done = steps_in(undisturbed)
    # three seeds (0, 1 and the grid's 7) and nothing is loaded, rendered or prepared twice
    assert (done["prepare_base"], done["load"], done["render"]) == (1, 3, 3)
    assert done["disperse"] == 4  # dtm under three seeds, dtm-clusters under one
    # the grid and the seeds of vanilla, twice as many of dtm, two of dtm-clusters; early-stopped trains nothing
    assert done["train"] == (2 + 2) + (2 + 2) * 2 + 2
    # the base once, vanilla with its first checkpoint, dtm, dtm-clusters; runs that tune meet no test item
    assert done["evaluate"] == 1 + 2 * 2 + 2 + 1


def test_the_curve_is_that_of_the_checkpoints_and_its_best_point_is_the_early_stopped_arm(undisturbed):
    results = study_of(undisturbed)
    assert [run["seed"] for run in results["curve"]["runs"]] == [0, 1]
    assert [[point["share"] for point in run["points"]] for run in results["curve"]["runs"]] == [
        [0, 0.5, 1]
    ] * 2
    peak, early = results["references"][0], next(arm for arm in results["arms"] if arm["name"] == "early")
    assert peak["name"] == "peak"
    for seed in (0, 1):
        chosen = next(choice for choice in early["choices"] if choice["seed"] == seed)
        dev = {one["name"]: one["score"] for one in chosen["candidates"]}
        points = next(run for run in results["curve"]["runs"] if run["seed"] == seed)["points"][1:]
        assert [point["dev"] for point in points] == [dev["vanilla_sft@1"], dev["vanilla_sft@2"]]
        assert peak["shares"][str(seed)] == {"vanilla_sft@1": 0.5, "vanilla_sft@2": 1}[chosen["chosen"]]
    assert peak["scores"] == early["scores"]


def test_a_second_study_does_no_work_and_writes_the_same(undisturbed, inputs):
    before, bytes_before = study_of(undisturbed), (undisturbed / "study" / "items.parquet").read_bytes()
    counted = steps_in(undisturbed)
    done = dtm("study", undisturbed / "tiny.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert without_timing(json.loads(done.stdout)) == without_timing(before)
    assert (undisturbed / "study" / "items.parquet").read_bytes() == bytes_before
    assert steps_in(undisturbed) == counted
    planned = json.loads(dtm("study", undisturbed / "tiny.yaml", "--dry-run", "--json").stdout)
    assert planned["totals"]["redo"] == 0
    assert planned["totals"]["runs"] == 11


def test_the_page_can_be_drawn_again(undisturbed):
    drawn = [undisturbed / "study" / name for name in ("report.html", "tables.md")]
    before = [path.read_bytes() for path in drawn]
    for path in drawn:
        path.unlink()
    done = dtm("report", undisturbed / "study", folder=undisturbed)
    assert done.returncode == 0, done.stderr
    assert [path.read_bytes() for path in drawn] == before
    assert "dev, by learning_rate" in before[1].decode()


def test_a_killed_study_goes_on_to_the_same_result(undisturbed, inputs, tmp_path):
    shutil.copytree(undisturbed / ".dtm-store", tmp_path / ".dtm-store")
    for manifest in (tmp_path / ".dtm-store" / "objects").glob("*/manifest.json"):
        if json.loads(manifest.read_text())["step"] in ("train", "merge", "evaluate", "heldout"):
            shutil.rmtree(manifest.parent)
    path = write_study(inputs, tmp_path)
    killed = dtm("study", path, fault="dtm.train.callbacks:Watch.on_step_end:6")
    assert killed.returncode == -9
    assert not (tmp_path / "study" / "study.json").exists()
    resumed = dtm("study", path)
    assert resumed.returncode == 0, resumed.stderr
    assert without_timing(study_of(tmp_path)) == without_timing(study_of(undisturbed))
    items = "study/items.parquet"
    assert (tmp_path / items).read_bytes() == (undisturbed / items).read_bytes()


def test_a_run_that_fails_is_marked_and_the_others_go_on(undisturbed, inputs, tmp_path):
    shutil.copytree(undisturbed / ".dtm-store", tmp_path / ".dtm-store")
    # There are fewer rows than portions, which shows once they are read.
    text = STUDY.replace("seeds: [0], grid: dtm", "disperse.k: 1000, grid: false")
    done = dtm("study", write_study(inputs, tmp_path, text))
    assert done.returncode == 1
    assert "2 of 2 failed" in done.stdout
    results = study_of(tmp_path)
    arms = {arm["name"]: arm for arm in results["arms"]}
    assert [failure["seed"] for failure in arms["dtm-clusters"]["failures"]] == [0, 1]
    assert "cannot fill 1000 portions" in arms["dtm-clusters"]["failures"][0]["error"]
    assert not arms["dtm-clusters"]["claim"]
    before = study_of(undisturbed)
    assert arms["dtm"] == before["arms"][1]


def test_only_one_arm_runs_and_the_others_keep_what_they_had(undisturbed, inputs, tmp_path):
    shutil.copytree(undisturbed / ".dtm-store", tmp_path / ".dtm-store")
    path = write_study(inputs, tmp_path)
    done = dtm("study", path, "--only", "early")
    assert done.returncode == 0, done.stderr
    assert "4/4 early, seed 1" in done.stderr  # vanilla's two runs of the grid are what early is tuned by
    results = study_of(tmp_path)
    seeds = {"vanilla": [], "dtm": [], "dtm-clusters": [], "early": [0, 1]}
    assert {arm["name"]: arm["seeds"] for arm in results["arms"]} == seeds
    assert [arm["left_out"] for arm in results["arms"]] == [[0, 1], [0, 1], [0], []]
    assert dtm("study", path, "--only", "vanilla", "--only", "dtm", "--only", "dtm-clusters").returncode == 0
    assert without_timing(study_of(tmp_path)) == without_timing(study_of(undisturbed))
    wrong = dtm("study", path, "--only", "dmt")
    assert wrong.returncode == 2
    assert "Did you mean 'dtm'?" in wrong.stderr


@pytest.fixture
def folder(undisturbed, tmp_path):
    shutil.copytree(undisturbed / "study", tmp_path / "study", symlinks=True)
    return tmp_path / "study"


def states_of(found):
    return {arm["name"]: arm["seeds"] for arm in found["arms"]}


def cut(folder, label, *, took=None):
    """The log as it stood when that run had just begun; every run that worked took so long."""
    path = folder / "log.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    end = next(n for n, line in enumerate(lines) if (line["event"], line["step"]) == ("started", label))
    for line in lines if took else ():
        line |= {"seconds": took} if line["event"] == "done" else {}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[: end + 1]))
    return datetime.fromisoformat(lines[end]["time"])


@contextmanager
def held(folder):
    with open(folder / LOCK, "a+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def test_a_whole_study_is_finished(undisturbed):
    assert is_study(undisturbed / "study")
    assert not is_study(undisturbed / "study" / "runs" / "dtm" / "seed-0")
    found = status_of_study(undisturbed / "study", now=LATER)
    assert (found["state"], found["runs"]["all"], found["runs"]["finished"]) == ("finished", 11, 11)
    assert [set(states.values()) for states in states_of(found).values()] == [{"finished"}] * 4
    assert {arm["name"]: arm["tuning"] for arm in found["arms"]} == {
        "vanilla": {"all": 2, "finished": 2}, "dtm": {"all": 2, "finished": 2}, "dtm-clusters": None, "early": None,
    }  # fmt: skip
    assert (found["seconds_left"], found["current"]) == (None, None)


def test_a_killed_study_is_stopped_where_it_was(folder):
    cut(folder, "early, seed 0")
    found = status_of_study(folder)
    assert found["state"] == "stopped"
    assert states_of(found)["early"] == {"0": "stopped", "1": "waiting"}
    assert "stopped: 9 of 11 runs done: its process is gone" in WATCHED.sentence(found)


def test_while_it_works_the_run_is_shown_with_the_time_that_the_rest_takes(folder):
    cut(folder, "early, seed 0", took=100.0)
    with held(folder):
        found = status_of_study(folder)
    assert (found["state"], states_of(found)["early"]) == ("running", {"0": "running", "1": "waiting"})
    assert found["current"]["folder"].endswith("runs/early/seed-0")
    assert found["seconds_left"] == pytest.approx(2 * 100.0 - found["current"]["seconds"])
    out = Console(file=io.StringIO(), width=120)
    out.print(view(found))
    text = out.file.getvalue()
    assert "running: 9 of 11 runs done, about 3 min" in text
    assert "runs/early/seed-0" in text


def test_a_study_given_again_works_whatever_it_left_before(folder):
    with open(folder / "log.jsonl", "a") as log:
        for event, step in (("run", ""), ("started", "vanilla, seed 0")):
            log.write(
                json.dumps({"time": datetime.now(UTC).isoformat(), "event": event, "step": step}) + "\n"
            )
    with held(folder):
        found = status_of_study(folder)
    assert (found["state"], found["runs"]["finished"]) == ("running", 10)
    assert states_of(found)["vanilla"] == {"0": "running", "1": "finished"}


def test_a_run_that_failed_is_told_and_the_exit_code_is_one(folder):
    text = (folder / "log.jsonl").read_text().splitlines()
    failed = {
        "time": datetime.now(UTC).isoformat(),
        "event": "failed",
        "step": "dtm, seed 1",
        "reason": "no luck",
    }
    (folder / "log.jsonl").write_text("\n".join([*text[:-1], json.dumps(failed), text[-1]]) + "\n")
    done = CliRunner().invoke(app, ["status", str(folder), "--json"])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["kind"], found["state"], found["runs"]["failed"]) == (
        1,
        "study",
        "failed",
        1,
    )
    assert "10 of 11 runs done, 1 failed" in CliRunner().invoke(app, ["status", str(folder)]).stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_watching_in_a_file_tells_the_end(folder, as_json):
    out = Console(file=io.StringIO(), width=120)
    (watching.lines if as_json else watching.watch)(folder, out, WATCHED)
    lines = out.file.getvalue().splitlines()
    if as_json:
        assert json.loads(lines[-1])["state"] == "finished"
    else:
        assert "finished dtm, seed 1" in lines
        assert lines[-1] == "finished: 11 of 11 runs done"


def test_a_study_file_alone_is_no_study_that_was_begun(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    assert not is_study(tmp_path)
    (tmp_path / "log.jsonl").write_text("")
    assert is_study(tmp_path)
    with pytest.raises(MissingInput, match="tells of no study"):
        status_of_study(tmp_path)
