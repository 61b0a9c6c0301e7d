"""Checkpoints to and from a store's URL: the newest whole one, and the points that it stands on."""

from __future__ import annotations

import fsspec
import pytest

from dtm.foundations.mirror import MirroredStore
from dtm.foundations.remote import Remote
from dtm.foundations.store import Step, Store
from dtm.pipeline import streaming
from dtm.pipeline.streaming import Streaming
from dtm.train.checkpoints import keep_point, latest, plan_points, stamp

STORE, STEP = "memory://bucket/store", Step("train", {"r": 16})


@pytest.fixture(autouse=True)
def move(monkeypatch, tmp_path):
    """Makes this process another machine; the first is `one`. The server is empty, and nobody looks by himself."""
    fsspec.filesystem("memory").store.clear()
    monkeypatch.setenv("DTM_CACHE", str(tmp_path / "one"))
    monkeypatch.setattr(streaming, "EVERY", 3600.0)
    yield lambda name: monkeypatch.setenv("DTM_CACHE", str(tmp_path / name))
    fsspec.filesystem("memory").store.clear()


def checkpoint(claim, step):
    folder = claim.scratch / f"checkpoint-{step}"
    (folder / "rank").mkdir(parents=True)
    (folder / "optimizer.pt").write_text(f"state of {step}")
    (folder / "rank" / "rng.pt").write_text(f"chance of {step}")
    stamp(folder)
    return folder


def sent():
    names = Remote.open(f"{STORE}/work/{STEP.key}").walk()
    return {name.split("/dtm-")[0] for name in names if name.endswith("dtm-digests.json")}


def stream(claim, *steps):
    """Send what a training has after each of the steps, and be killed."""
    one = Streaming(claim.store)
    one.start([claim])
    for step in steps:
        checkpoint(claim, step)
        one._send_all()
    claim.release()


def test_the_newest_goes_up_and_comes_back_elsewhere(move):
    stream(MirroredStore(STORE).claim(STEP), 3, 6)
    assert sent() == {"checkpoint-6"}
    move("two")
    with MirroredStore(STORE).claim(STEP) as claim:
        Streaming(claim.store).restore(claim)
        found = latest(claim.scratch)
        assert found == claim.scratch / "checkpoint-6"
        assert (found / "rank" / "rng.pt").read_text() == "chance of 6"
        assert [path.name for path in claim.scratch.iterdir()] == ["checkpoint-6"]


def test_points_that_are_kept_go_along(move):
    store = MirroredStore(STORE)
    with store.claim(STEP) as claim:
        plan_points(claim.scratch, [2, 9])
        keep_point(claim.scratch, 2, lambda folder: (folder / "model.safetensors").write_text("of 2"))
        stream(claim, 3)
    assert sent() == {"checkpoint-3", "points/2"}
    move("two")
    with MirroredStore(STORE).claim(STEP) as claim:
        Streaming(claim.store).restore(claim)
        assert (claim.scratch / "points" / "2" / "model.safetensors").read_text() == "of 2"
        assert (claim.scratch / "points" / "plan.json").exists()


def test_what_is_not_stamped_yet_or_half_dropped_is_not_sent():
    with MirroredStore(STORE).claim(STEP) as claim:
        (claim.scratch / "checkpoint-9").mkdir()
        (claim.scratch / "checkpoint-9" / "optimizer.pt").write_text("half")
        (checkpoint(claim, 6) / "optimizer.pt").unlink()
        stream(claim)
        assert sent() == set()


def test_an_upload_that_was_cut_off_does_not_count(move):
    stream(MirroredStore(STORE).claim(STEP), 3)
    remote = Remote.open(f"{STORE}/work/{STEP.key}")
    remote.write("checkpoint-6/optimizer.pt", b"state of 6")  # killed before its stamp
    move("two")
    with MirroredStore(STORE).claim(STEP) as claim:
        Streaming(claim.store).restore(claim)
        assert latest(claim.scratch).name == "checkpoint-3"


def test_a_changed_byte_is_found_and_the_checkpoint_dropped(move):
    stream(MirroredStore(STORE).claim(STEP), 3)
    Remote.open(f"{STORE}/work/{STEP.key}").write("checkpoint-3/optimizer.pt", b"state of 4")
    move("two")
    with MirroredStore(STORE).claim(STEP) as claim:
        Streaming(claim.store).restore(claim)
        assert list(claim.scratch.iterdir()) == []
    assert sent() == set()


def test_a_machine_that_is_further_keeps_its_own(move):
    store = MirroredStore(STORE)
    with store.claim(STEP) as claim:
        stream(claim, 3)
        (checkpoint(claim, 6) / "mine").write_text("")
        stamp(claim.scratch / "checkpoint-6")
        Streaming(store).restore(claim)
        assert latest(claim.scratch).name == "checkpoint-6"


def test_what_is_published_leaves_no_checkpoint():
    store = MirroredStore(STORE)
    with store.claim(STEP) as claim:
        one = Streaming(store)
        one.start([claim])
        checkpoint(claim, 3)
        one._send_all()
        (claim.output / "model.safetensors").write_text("weights")
        claim.publish()
        one.stop()
    assert sent() == set()
    assert not claim.work.exists()
    assert not list((store.root / "work").iterdir())


def test_a_stop_sends_what_was_written_last():
    with MirroredStore(STORE).claim(STEP) as claim:
        one = Streaming(claim.store)
        one.start([claim])
        checkpoint(claim, 3)  # as a worker that is asked to leave does
        one.stop()
    assert sent() == {"checkpoint-3"}


def test_trouble_on_the_way_is_told_and_harms_nobody(monkeypatch):
    store, told = MirroredStore(STORE), []
    store.hear(told.append)
    with store.claim(STEP) as claim:
        one = Streaming(store)
        one.start([claim])
        checkpoint(claim, 3)
        with monkeypatch.context() as patch:
            patch.setattr(Remote, "put", lambda self, files: 1 / 0)
            one.stop()
    assert told == ["not uploaded for now: division by zero"]


def test_a_store_on_this_machine_alone_streams_nothing(tmp_path):
    with Store(tmp_path / "store").claim(STEP) as claim:
        one = Streaming(claim.store)
        one.restore(claim)
        one.start([claim])
        checkpoint(claim, 3)
        one.stop()
    assert fsspec.filesystem("memory").store == {}


def test_names_that_lead_out_of_a_folder_are_not_listed():
    fsspec.filesystem("memory").pipe_file("/bucket/store/a/../../../stolen", b"x")
    assert all(".." not in name for name in Remote.open(STORE).walk())
