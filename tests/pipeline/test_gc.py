"""`dtm gc` frees what no run names: never what a stopped run will go on with."""

from __future__ import annotations

import pytest

from dtm.pipeline import building, run
from dtm.pipeline.collect import collect
from tests.pipeline.conftest import without, write_run


def objects(out):
    return {path.name for path in (out / ".dtm-store" / "objects").iterdir()}


@pytest.fixture
def here(undisturbed, inputs, tmp_path, monkeypatch):
    """A store in which only the merge and what follows is missing, and the run file beside it."""
    without(undisturbed, tmp_path, "merge", "evaluate", "heldout", "attribute")
    write_run(inputs, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_a_stopped_run_has_done_is_spared(here, monkeypatch):
    def stopped(*arguments):
        claim = arguments[-2]
        (claim.output / "half").write_text("a file that the next run goes on with")
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "merge", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(here / "run.yaml", quiet=True)
    before = objects(here)
    collect(here / ".dtm-store", dry_run=False)
    assert objects(here) == before
    assert list((here / ".dtm-store" / "work").glob("*/output/half"))


def test_a_command_for_one_stage_gives_up_nothing_of_the_whole_run(here):
    run(here / "run.yaml", ["evaluate.tasks=[]"], quiet=True)
    before = objects(here)
    run(here / "run.yaml", ["evaluate.tasks=[]"], until="disperse", quiet=True)
    collect(here / ".dtm-store", dry_run=False)
    assert objects(here) == before


def test_what_a_changed_run_no_longer_uses_goes(here):
    settings = ["evaluate.tasks=[]", "evaluate.heldout=false"]
    run(here / "run.yaml", [*settings, "merge.weights=[0.8, 0.2]"], quiet=True)
    before = objects(here)
    run(here / "run.yaml", [*settings, "merge.weights=[0.9, 0.1]"], quiet=True)
    assert "1 of" in collect(here / ".dtm-store", dry_run=True)
    collect(here / ".dtm-store", dry_run=False)
    assert len(before - objects(here)) == 1
