"""What the run folder shows is what its last run made."""

from __future__ import annotations

import pytest

from dtm.pipeline import run
from dtm.pipeline.journal import Journal
from dtm.pipeline.status import status_of
from tests.pipeline.conftest import without, write_run

QUICK = ["evaluate.tasks=[]", "evaluate.heldout=false", "baselines=[vanilla_sft]"]


@pytest.fixture
def here(undisturbed, inputs, tmp_path, monkeypatch):
    without(undisturbed, tmp_path)
    write_run(inputs, tmp_path)
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "run.yaml", QUICK, quiet=True)
    return tmp_path


def test_the_folder_follows_its_runs(here):
    assert (here / "run/merged").exists()
    assert (here / "run/baselines/vanilla_sft").exists()
    planned = here / "run/run.yaml"
    before = planned.read_text()
    run(here / "run.yaml", [*QUICK, "merge.weights=tokens"], dry_run=True, quiet=True)
    assert planned.read_text() == before, "a plan is not a run"

    roles = _roles(
        run(here / "run.yaml", [*QUICK, "recipe=vanilla_sft", "baselines=[disperse_then_merge]"], quiet=True)
    )
    assert roles["vanilla_sft"] == roles["disperse_then_merge"] == "baseline"
    assert not (here / "run/merged").exists(), "this run's recipe merges nothing"

    run(here / "run.yaml", [*QUICK, "baselines=[]"], quiet=True)
    assert (here / "run/merged").exists()
    assert not (here / "run/baselines/disperse_then_merge").exists()


def test_a_run_that_stopped_is_not_finished_though_an_earlier_one_was(here):
    assert status_of(here / "run")["state"] == "finished"
    journal = Journal(here / "run")
    journal.begin()
    assert (here / "run/results.json").exists()
    assert status_of(here / "run")["state"] == "running"
    journal.end("stopped", reason="KeyboardInterrupt")
    assert status_of(here / "run")["state"] == "stopped"


def _roles(results):
    return {model["name"]: model["role"] for model in results["results"]["models"]}
