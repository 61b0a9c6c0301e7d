"""A store at a URL: what one machine made another one finds, whole or not at all. `memory://` stands for the server."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import fsspec
import pytest

from dtm.foundations.errors import ConfigError, DtmError, MissingInput, StoreError
from dtm.foundations.files import sha256, walk
from dtm.foundations.mirror import MirroredStore, open_store
from dtm.foundations.remote import Remote
from dtm.foundations.store import Step, Store
from dtm.foundations.urls import cached, check_url, is_url, parent

STEP = Step("train", {"r": 16}, {"base": "f" * 64}, 7, {"threads": 2})
URL = "memory://bucket/store"


@pytest.fixture(autouse=True)
def _empty(monkeypatch, tmp_path):
    monkeypatch.setenv("DTM_CACHE", str(tmp_path / "here"))
    fsspec.filesystem("memory").store.clear()
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Makes this process another machine, with a cache of its own."""
    count = iter(range(10))

    def move():
        monkeypatch.setenv("DTM_CACHE", str(tmp_path / f"machine-{next(count)}"))
        return MirroredStore(URL)

    return move


def write(claim, text="weights"):
    (claim.output / "sub").mkdir(exist_ok=True)
    (claim.output / "model.safetensors").write_text(text)
    (claim.output / "sub" / "card.json").write_text("{}")
    return {"rows": 3}


def objects() -> dict[str, bytes]:
    """All that is on the server, by path."""
    memory = fsspec.filesystem("memory")
    return {path: memory.cat_file(path) for path in memory.find("/bucket")}


def damage(name: str) -> None:
    """Flip the lowest bit of the first byte of every remote file of that name."""
    memory = fsspec.filesystem("memory")
    for path in memory.find("/bucket"):
        if path.endswith(name):
            content = memory.cat_file(path)
            memory.pipe_file(path, bytes([content[0] ^ 1]) + content[1:])


def test_an_artifact_made_here_is_found_elsewhere_with_the_same_bytes_key_and_manifest(elsewhere, tmp_path):
    made = MirroredStore(URL).make(STEP, write)
    assert made.key == Store(tmp_path / "plain").make(STEP, write).key  # the place is in no key
    found = elsewhere().find(STEP)
    assert found.folder != made.folder
    assert found.manifest == made.manifest
    assert {name: sha256(path) for name, path in walk(found.folder)} == {
        name: sha256(path) for name, path in walk(made.folder)
    }


def test_the_manifest_is_uploaded_last(monkeypatch):
    order = []
    put, text = Remote.put, Remote.write_json
    monkeypatch.setattr(Remote, "put", lambda self, files: order.append("files") or put(self, files))
    monkeypatch.setattr(
        Remote, "write_json", lambda self, name, value: order.append(name) or text(self, name, value)
    )
    MirroredStore(URL).make(STEP, write)
    assert order == ["files", f"objects/{STEP.key}/manifest.json"]


def test_an_upload_without_manifest_is_not_there_and_is_done_again(elsewhere):
    first = MirroredStore(URL).make(STEP, write)
    fsspec.filesystem("memory").rm_file(f"/bucket/store/objects/{STEP.key}/manifest.json")
    other = elsewhere()
    assert other.find(STEP) is None
    assert other.make(STEP, write).digest == first.digest
    assert elsewhere().find(STEP) is not None


def test_what_was_published_here_and_not_uploaded_goes_up_when_it_is_found(elsewhere, monkeypatch):
    def down(self, files):
        raise StoreError("the server does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Remote, "put", down)
        with pytest.raises(StoreError):
            MirroredStore(URL).make(STEP, write)
    assert objects() == {}
    here = MirroredStore(URL)
    assert here.make(STEP, lambda claim: pytest.fail("it is in the cache")).facts == {"rows": 3}
    assert elsewhere().find(STEP) is not None


@pytest.mark.parametrize("harm", [
    lambda: damage("model.safetensors"),
    lambda: fsspec.filesystem("memory").rm_file(next(path for path in objects() if path.endswith("card.json"))),
], ids=["flipped byte", "missing file"])  # fmt: skip
def test_a_damaged_remote_artifact_is_found_and_made_again(elsewhere, harm):
    first = MirroredStore(URL).make(STEP, write)
    harm()
    other, told, built = elsewhere(), [], []
    other.hear(told.append)
    again = other.make(STEP, lambda claim: built.append(1) or write(claim))
    assert built
    assert again.digest == first.digest
    assert any("damaged" in text for text in told)
    assert elsewhere().find(STEP).digest == first.digest  # mended for the others too
    assert not list((other.root / "work").iterdir())


@pytest.mark.parametrize(
    "text", [b'{"files": {', b"[]", b"\xff\xfe", b"{}"], ids=["cut", "list", "binary", "foreign"]
)
def test_a_manifest_that_is_none_is_not_there(elsewhere, text):
    MirroredStore(URL).make(STEP, write)
    fsspec.filesystem("memory").pipe_file(f"/bucket/store/objects/{STEP.key}/manifest.json", text)
    assert elsewhere().find(STEP) is None


def test_a_manifest_cannot_name_files_outside_of_its_folder(elsewhere, tmp_path):
    MirroredStore(URL).make(STEP, write)
    memory, path = fsspec.filesystem("memory"), f"/bucket/store/objects/{STEP.key}/manifest.json"
    manifest = json.loads(memory.cat_file(path))
    manifest["files"]["../../../../../stolen"] = manifest["files"].pop("model.safetensors")
    memory.pipe_file(path, json.dumps(manifest).encode())
    assert elsewhere().find(STEP) is None
    assert not list(tmp_path.rglob("stolen"))


def test_a_plan_reads_the_manifest_and_fetches_nothing(elsewhere):
    made = MirroredStore(URL).make(STEP, write)
    other = elsewhere()
    seen = other.peek(STEP)
    assert (seen.digest, seen.facts, seen.folder.exists()) == (made.digest, {"rows": 3}, False)
    assert other.peek(Step("another")) is None
    assert other.find(STEP).folder == seen.folder


def test_two_machines_that_make_one_key_at_once_harm_nobody(elsewhere):
    one, two = MirroredStore(URL), elsewhere()
    with one.claim(STEP) as mine, two.claim(STEP) as theirs:  # locks are a machine's own
        assert mine.artifact is None
        assert theirs.artifact is None
        (mine.output / "training_args.bin").write_text("of one")  # not the same in equal steps
        (theirs.output / "training_args.bin").write_text("of the other")
        first, second = mine.publish(write(mine)), theirs.publish(write(theirs))
    assert first.digest == second.digest
    found = elsewhere().find(STEP)
    assert found.digest == first.digest
    assert (found.folder / "training_args.bin").read_text() == "of one"  # all of it, and of nobody else


def test_what_a_killed_fetch_left_goes_with_the_next(elsewhere):
    MirroredStore(URL).make(STEP, write)
    other = elsewhere()
    left = other.root / "work" / f"fetching-{STEP.key}-{2**22 - 1}-1"  # no such process
    left.mkdir()
    assert other.find(STEP) is not None
    assert not left.exists()


def test_two_processes_that_fetch_one_key_both_have_it(elsewhere, monkeypatch):
    MirroredStore(URL).make(STEP, write)
    other = elsewhere()
    get = Remote.get

    def slowly(self, files):
        monkeypatch.setattr(Remote, "get", get)
        assert MirroredStore(URL).find(STEP) is not None  # the other process is quicker
        get(self, files)

    monkeypatch.setattr(Remote, "get", slowly)
    assert other.find(STEP) is not None
    assert not list((other.root / "work").glob("fetching-*"))


def test_a_fetch_that_the_disk_has_no_room_for_says_so(elsewhere, monkeypatch):
    MirroredStore(URL).make(STEP, write)
    other = elsewhere()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3))
    with pytest.raises(OSError, match="fetching train takes"):
        other.find(STEP)


def test_a_path_and_a_url_open_their_stores(tmp_path):
    assert type(open_store(tmp_path / "store")) is Store
    assert type(open_store(URL)) is MirroredStore


def test_urls_are_told_from_paths_and_have_a_place_in_the_cache(tmp_path):
    assert [is_url(one) for one in ("s3://bucket/x", "file:///tmp/x")] == [True, True]
    assert [is_url(one) for one in ("runs/s3", "/tmp/x:y")] == [False, False]
    assert cached("s3://bucket/runs/x/") == tmp_path / "here" / "s3" / "bucket" / "runs" / "x"
    assert parent("s3://bucket/runs/x") == "s3://bucket/runs"
    assert parent("s3://bucket") == "s3://bucket"


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/x", "s3://key@bucket/x", "s3://bucket/x?secret=secret"]
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url):
    with pytest.raises(ConfigError, match="environment") as caught:
        check_url(url, where="run.yaml:3: output_dir")
    assert "secret=secret" not in caught.value.message
    assert "key:" not in caught.value.message


@pytest.mark.parametrize(("url", "says"), [
    ("s4://bucket/x", "no kind of storage 's4'"), ("https://host/x", "cannot be written"), ("s3://", "names no bucket"),
    ("s3://bucket/../other", r"\.\."),
])  # fmt: skip
def test_a_url_that_cannot_be_written_to_is_refused(url, says):
    with pytest.raises(DtmError, match=says):
        Remote.open(url)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    def absent(scheme):
        raise ImportError("Please install gcsfs")

    monkeypatch.setattr(fsspec, "get_filesystem_class", absent)
    with pytest.raises(MissingInput, match="gcsfs") as caught:
        Remote.open("gs://bucket/x")
    assert "disperse-then-merge[gcs]" in caught.value.message
