"""A run folder at a URL, what commands and diskless machines fetch of it, `dtm gc URL`; `memory://` is the server."""

from __future__ import annotations

import json

import fsspec
import pytest

from dtm.foundations.errors import MissingInput, StoreError
from dtm.foundations.launch.worker import answer
from dtm.foundations.mirror import MirroredStore
from dtm.foundations.remote import Remote
from dtm.foundations.store import Step, Store
from dtm.foundations.urls import cached
from dtm.pipeline import away, collect_remote
from dtm.pipeline.collect import collect
from dtm.pipeline.mirroring import RunMirror, give_back, here

URL, STORE = "memory://bucket/runs/first", "memory://bucket/runs/.dtm-store"
STEP = Step("train", {"r": 16})


@pytest.fixture(autouse=True)
def move(monkeypatch, tmp_path):
    """Makes this process another machine; the first is `one`. The server is empty."""
    fsspec.filesystem("memory").store.clear()
    monkeypatch.setenv("DTM_CACHE", str(tmp_path / "one"))
    yield lambda name: monkeypatch.setenv("DTM_CACHE", str(tmp_path / name))
    fsspec.filesystem("memory").store.clear()


def write_run(**files: str):
    folder = cached(URL)
    for name, text in {"run.yaml": "base: model\n", "log.jsonl": '{"event": "run"}\n', **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def on_server():
    return set(Remote.open(URL).walk())


def make(store, step=STEP):
    return store.make(
        step, lambda claim: (claim.output / "model.safetensors").write_text("weights") and {"rows": 1}
    )


def test_live_files_go_up_as_they_change_and_the_rest_when_the_run_is_finished():
    folder = write_run(
        **{"merged/model.safetensors": "m", "report.html": "<p>", ".report.html.9.tmp": "half"}
    )
    mirror = RunMirror(folder, URL)
    mirror.push_live()
    assert on_server() == {"run.yaml", "log.jsonl"}
    mirror.push_all()
    assert on_server() == {
        "run.yaml",
        "log.jsonl",
        "merged/model.safetensors",
        "report.html",
        ".dtm-files.json",
    }
    (folder / "merged" / "model.safetensors").unlink()
    mirror.push_all()
    assert "merged/model.safetensors" not in on_server()


def test_what_did_not_change_is_not_uploaded_again(monkeypatch):
    mirror = RunMirror(write_run(**{"merged/model.safetensors": "m", "report.html": "<p>"}), URL)
    mirror.push_all()
    (mirror.folder / "report.html").write_text("<b>")
    sent = []
    put, write = Remote.put, Remote.write
    monkeypatch.setattr(
        Remote, "put", lambda self, files: put(self, [sent.append(one[1]) or one for one in files])
    )
    monkeypatch.setattr(
        Remote, "write", lambda self, name, content: sent.append(name) or write(self, name, content)
    )
    mirror.push_all()
    assert sent == ["report.html", ".dtm-files.json"]


def test_files_that_the_store_at_the_url_has_are_copied_there(monkeypatch):
    store = MirroredStore(STORE)
    made = make(store)
    folder = write_run(**{"merged/model.safetensors": "weights", "keys.json": json.dumps([made.key])})
    sent = []
    put = Remote.put
    monkeypatch.setattr(
        Remote, "put", lambda self, files: put(self, [sent.append(one[1]) or one for one in files])
    )
    RunMirror(folder, URL, store).push_all()
    assert sent == []
    assert Remote.open(URL).read("merged/model.safetensors") == b"weights"


def test_another_machine_goes_on_with_the_log_and_the_newest_upload_wins(move):
    folder = write_run()
    RunMirror(folder, URL).push_live()
    move("two")
    RunMirror(cached(URL), URL).fetch_live()
    with open(cached(URL) / "log.jsonl", "a") as log:
        log.write("of two\n")
    RunMirror(cached(URL), URL).push_live()
    move("one")
    (folder / "keys.json").write_text("[]")  # not uploaded yet: it stays
    RunMirror(folder, URL).fetch_live()
    assert (folder / "log.jsonl").read_text() == '{"event": "run"}\nof two\n'
    assert (folder / "keys.json").exists()


def test_what_this_machine_wrote_and_could_not_upload_is_not_overwritten():
    folder = write_run()
    RunMirror(folder, URL).push_live()
    (folder / "log.jsonl").write_text('{"event": "run"}\nnewer\n')
    RunMirror(folder, URL).fetch_live()
    assert (folder / "log.jsonl").read_text().endswith("newer\n")


def test_a_command_gets_what_it_reads_and_no_models(move):
    RunMirror(write_run(**{"merged/model.safetensors": "m", "portions/assignment.csv": "id"}), URL).push_all()
    move("two")
    assert not (here(URL, live=True) / "portions").exists()
    folder = here(URL)
    assert (folder / "portions" / "assignment.csv").read_text() == "id"
    assert not (folder / "merged").exists()
    (folder / "report.html").write_text("<p>")
    give_back(URL, "report.html")
    assert Remote.open(URL).read("report.html") == b"<p>"
    assert "merged/model.safetensors" in on_server()  # that it was not fetched does not remove it
    move("three")
    assert (here(URL) / "report.html").read_text() == "<p>"


def test_a_changed_byte_of_a_shown_file_is_found(move):
    RunMirror(write_run(**{"portions/assignment.csv": "id"}), URL).push_all()
    Remote.open(URL).write("portions/assignment.csv", b"ie")
    move("two")
    with pytest.raises(StoreError, match=r"portions/assignment.csv"):
        here(URL)


def test_where_no_run_was_it_says_so_and_a_path_stays_a_path(tmp_path):
    with pytest.raises(MissingInput, match=r"no run.yaml"):
        here(URL)
    assert here(tmp_path) == tmp_path


@pytest.fixture
def old(monkeypatch):
    """Lets all that was uploaded be older than a day."""
    clock = Remote.clock
    return lambda: monkeypatch.setattr(Remote, "clock", lambda self: clock(self) + collect_remote.SPARED + 60)


def test_gc_of_a_remote_store_frees_what_no_run_names_and_is_a_day_old(old):
    store = MirroredStore(STORE)
    kept, dropped = make(store), make(store, Step("dropped"))
    RunMirror(write_run(**{"keys.json": json.dumps([kept.key])}), URL, store).push_all()
    assert collect(STORE, dry_run=False).startswith("0 of 2 entries removed")
    old()
    told = collect(STORE, dry_run=True)
    assert told.startswith("1 of 2 entries would go")
    assert "younger than a day stays" in told
    assert collect(STORE, dry_run=False).startswith("1 of 2 entries removed")
    assert {name.split("/")[0] for name in store.remote.walk("objects")} == {kept.key}
    assert store.remote.read(f"objects/{dropped.key}/manifest.json") is None


def test_gc_frees_half_uploads_leftovers_and_checkpoints_of_finished_trainings(old):
    store = MirroredStore(STORE)
    kept = make(store)
    RunMirror(write_run(**{"keys.json": json.dumps([kept.key])}), URL, store).push_all()
    for name in ("objects/half/ab/model", f"objects/{kept.key}/another/model.safetensors",
                 f"work/{kept.key}/checkpoint-3/optimizer.pt", "work/unknown/checkpoint-3/optimizer.pt"):  # fmt: skip
        store.remote.write(name, b"x")
    old()
    collect(STORE, dry_run=False)
    left = set(store.remote.walk())
    assert not any("half" in name or "another" in name or name.startswith("work/") for name in left)
    assert store._manifest(kept.key) is not None
    assert len([name for name in left if name.startswith(f"objects/{kept.key}/")]) == 2


def test_gc_spares_what_runs_of_other_machines_name_and_forgets_runs_that_were_deleted(old, tmp_path):
    store = MirroredStore(STORE)
    here_only, gone = make(store), make(store, Step("gone"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "keys.json").write_text(json.dumps([here_only.key]))
    RunMirror(tmp_path / "run", None, store).push_live()
    RunMirror(write_run(**{"keys.json": json.dumps([gone.key])}), URL, store).push_live()
    run = Remote.open(URL)
    run.remove(list(run.walk()))
    old()
    assert "runs on single machines name (1:" in collect(STORE, dry_run=False)
    assert {name.split("/")[0] for name in store.remote.walk("objects")} == {here_only.key}
    assert len(store.remote.walk("runs")) == 1


def test_gc_of_no_store_says_so():
    with pytest.raises(MissingInput, match="no store"):
        collect(STORE, dry_run=False)


@pytest.fixture
def job(move):
    """A message to a worker on another machine, the claim of the driver for it, and its store."""
    driver = MirroredStore(STORE)
    base = make(driver, Step("base"))
    claim = driver.claim(STEP)
    arguments = {"base": str(base.folder / "model.safetensors"), "output": str(claim.output),
                 "scratch": str(claim.scratch), "list": [1, {"name": "/not/of/the/cache"}]}  # fmt: skip
    message = {"function": "tests.pipeline.away_jobs:copy", "arguments": arguments, "lock": str(claim.job_lock),
               "gang": None, "away": away.ticket(driver, STEP)}  # fmt: skip
    driver.root.rename(driver.root.with_name("hidden"))  # the other machine has not this disk
    move("node")
    yield message, claim, driver
    claim.release()


def back(driver):
    driver.root.with_name("hidden").rename(driver.root)


def test_a_machine_without_the_drivers_disk_fetches_what_it_reads_and_publishes_what_it_made(job):
    message, claim, driver = job
    told = []
    away.work(message, told.append, answer)
    assert told == [{"event": "progress", "data": {"stage": "training"}},
                    {"event": "done", "result": {away.PUBLISHED: True}}]  # fmt: skip
    assert not driver.root.exists()
    back(driver)
    made = claim.adopt()
    assert made.facts == {"rows": 3}
    assert (made.folder / "model.safetensors").read_text() == "weights"
    assert not claim.work.exists()
    told.clear()
    away.work(message, told.append, answer)  # asked again, as after a lost answer
    assert [one["event"] for one in told] == ["done"]


def test_what_fails_there_is_told_and_publishes_nothing(job):
    message, claim, driver = job
    message["arguments"]["fails"] = True
    with pytest.raises(RuntimeError, match="half-way"):
        away.work(message, lambda message: None, answer)
    back(driver)
    assert claim.adopt() is None
    assert claim.output.exists()


def test_what_it_reads_must_be_at_the_url(job):
    message, _, driver = job
    for name in driver.remote.walk("objects"):
        driver.remote.remove([f"objects/{name}"])
    with pytest.raises(StoreError, match="is not there, or damaged"):
        away.work(message, lambda message: None, answer)


def test_several_machines_of_one_sub_model_need_a_shared_disk(job):
    message, _, _ = job
    with pytest.raises(StoreError, match="a disk that they share"):
        away.work({**message, "gang": {"nodes": 2}}, lambda message: None, answer)


def test_a_store_on_this_machine_alone_sends_nothing_along(tmp_path):
    assert away.ticket(Store(tmp_path / "store"), STEP) is None
