"""The same against a real S3 server on loopback: large files, who may do what, a server that goes and comes back."""

from __future__ import annotations

import os
import resource
import threading
import time
from dataclasses import replace

import pytest

from dtm.foundations.errors import DtmError, MissingInput, StoreError
from dtm.foundations.files import sha256
from dtm.foundations.mirror import MirroredStore
from dtm.foundations.remote import Remote
from dtm.foundations.store import Step
from tests import s3_server

pytestmark = pytest.mark.skipif(s3_server.missing() is not None, reason=str(s3_server.missing()))
STEP = Step("train", {"r": 16})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = s3_server.Server(tmp_path_factory.mktemp("s3") / "server")
    one.start()
    yield one
    one.kill()


@pytest.fixture(autouse=True)
def _environment(server, monkeypatch, tmp_path):
    """A machine with an empty cache and the keys of `writer`."""
    become(server, monkeypatch, "writer")
    monkeypatch.setenv("DTM_CACHE", str(tmp_path / "cache"))


def become(server, monkeypatch, user):
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in server.environment(user).items():
        monkeypatch.setenv(name, value)


def test_small_files_are_written_read_listed_and_removed():
    remote = Remote.open("s3://ready/small")
    remote.write_json("a/one.json", {"x": 1})
    remote.write("a/two", b"22")
    assert remote.read_json("a/one.json") == {"x": 1}
    assert {name: info["size"] for name, info in remote.walk("a").items()} == {"one.json": 13, "two": 2}
    assert abs(remote.walk()["a/two"]["modified"] - time.time()) < 60
    remote.copy(remote.path("a/two"), "b/two")
    remote.remove(["a/one.json", "a/two", "never was"])
    assert (remote.read("a/two"), remote.read("b/two"), list(remote.walk())) == (None, b"22", ["b/two"])


def test_a_large_file_goes_in_parts_and_never_wholly_into_memory(tmp_path):
    size, chance = 192 << 20, os.urandom(1 << 20)
    with open(tmp_path / "large", "wb") as file:
        for number in range(size >> 20):
            file.write(number.to_bytes(8) + chance[8:])
    remote = Remote.open("s3://ready/large")
    remote.write("warm", b"up")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    remote.put([(tmp_path / "large", "large")])
    remote.get([("large", tmp_path / "back")])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert sha256(tmp_path / "back") == sha256(tmp_path / "large")
    assert "-" in remote.filesystem.info(remote.path("large"))["ETag"]  # of an upload in parts
    assert grown < size
    remote.remove(["large"])


@pytest.mark.parametrize(("user", "url", "says"), [
    ("writer", "s3://no-such-bucket/x", "no such bucket"),
    ("writer", "s3://Not_A_Bucket!/x", "cannot be"),
    ("reader", "s3://ready/x", "refuses"),
    ("stranger", "s3://ready/x", "refuses"),
])  # fmt: skip
def test_what_cannot_be_written_to_is_told_at_once(server, monkeypatch, user, url, says):
    become(server, monkeypatch, user)
    started = time.monotonic()
    with pytest.raises(DtmError, match=says) as caught:
        Remote.open(url).check(where="run.yaml:9: output_dir")
    assert time.monotonic() - started < 15
    assert caught.value.message.startswith("run.yaml:9: output_dir: ")
    assert "secret-of" not in caught.value.message


def test_without_credentials_it_says_where_they_come_from(monkeypatch, tmp_path):
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DtmError, match=r"AWS_ACCESS_KEY_ID|refuses"):
        Remote.open("s3://ready/x").check()


def test_a_server_that_does_not_answer_is_told_at_once(monkeypatch):
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"127.0.0.1:9 does not answer"):
        Remote.open("s3://ready/x").check()
    assert time.monotonic() - started < 15


def test_work_waits_for_a_server_that_was_killed_and_comes_back(server, monkeypatch):
    store = MirroredStore("s3://ready/store")
    told: list[str] = []
    store.hear(told.append)
    with store.claim(STEP) as claim:
        (claim.output / "model.safetensors").write_text("weights")
        server.kill()
        with pytest.raises(StoreError, match=r"does not answer.*goes on from here"):
            replace(store.remote, patience=0.5).read("any")
        back = threading.Timer(0.1, server.start)
        back.start()
        made = claim.publish()
        back.join()
    assert any("trying again" in text for text in told)
    monkeypatch.setenv("DTM_CACHE", os.environ["DTM_CACHE"] + "-other")
    assert MirroredStore("s3://ready/store").find(STEP).digest == made.digest


def test_a_bucket_that_is_missing_is_no_network_trouble():
    with pytest.raises(MissingInput):
        Remote.open("s3://no-such-bucket/x").write("a", b"a")
