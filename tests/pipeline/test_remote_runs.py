"""A run whose output_dir is on a real S3 server: same bytes, found elsewhere, resumed elsewhere after `kill -9`."""

from __future__ import annotations

import json

import pytest

from dtm.foundations.errors import DtmError
from dtm.foundations.files import sha256, walk
from dtm.foundations.remote import Remote, cached
from dtm.pipeline import run
from tests import s3_server
from tests.pipeline.conftest import EXEMPT, RUN, dtm, write_run

pytestmark = pytest.mark.skipif(s3_server.missing() is not None, reason=str(s3_server.missing()))
SHORT = RUN.replace("output_dir: run\n", "").replace("num_train_epochs: 1", "num_train_epochs: 8")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = s3_server.Server(tmp_path_factory.mktemp("s3") / "server")
    one.start()
    yield one
    one.kill()


@pytest.fixture
def elsewhere(server, monkeypatch, tmp_path):
    """Makes this process another machine: an empty cache, the same keys."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)

    def move(name):
        monkeypatch.setenv("DTM_CACHE", str(tmp_path / name))

    move("first")
    return move


@pytest.fixture(scope="module")
def local(inputs, tmp_path_factory, warm):
    """The same run on this machine alone."""
    out = tmp_path_factory.mktemp("local")
    run(write_run(inputs, out, SHORT + f"output_dir: {out / 'run'}\n"), **warm)
    return content(out / "run")


def content(folder):
    """sha256 of all that must be the same bytes in equal runs, and the block of results; cards quote the run file."""
    apart = {*EXEMPT, "README.md"}
    files = {
        name: sha256(path) for name, path in walk(folder) if path.name not in apart and path.name[0] != "."
    }
    results = json.loads((folder / "results.json").read_text())
    return {**files, "results": json.dumps(results["results"], sort_keys=True)}


def shown(url, tmp_path):
    """The run folder as it stands at the URL, downloaded."""
    remote = Remote.open(url)
    folder = tmp_path / "downloaded"
    remote.get((name, folder / name) for name in remote.walk())
    return content(folder)


def events(url):
    log = Remote.open(url).read("log.jsonl").decode().splitlines()
    return [json.loads(line) for line in log]


def test_a_run_on_s3_has_the_same_bytes_and_another_machine_does_nothing_again(
    local, inputs, tmp_path, elsewhere, warm
):
    url = "s3://ready/runs/first"
    file = write_run(inputs, tmp_path, SHORT + f"output_dir: {url}\n")
    run(file, **warm)
    assert shown(url, tmp_path) == local
    assert not Remote.open("s3://ready/runs/.dtm-store/work").walk()  # checkpoints go with their training
    log = Remote.open(url).read("log.jsonl")

    elsewhere("second")
    results = run(file, **warm)
    assert {stage["name"] for stage in results["stages"] if not stage["reused"]} == set()
    assert content(cached(url)) == local
    assert Remote.open(url).read("log.jsonl").startswith(log)

    # a flipped byte of a sub-model at the URL is found, and the sub-model trained again to the same bytes
    store = Remote.open("s3://ready/runs/.dtm-store")
    for name in store.walk("objects"):
        if (
            name.endswith("manifest.json")
            and (manifest := store.read_json(f"objects/{name}"))["step"] == "train"
        ):
            weights = f"objects/{manifest['key']}/{manifest['upload']}/adapter_model.safetensors"
            content_of = store.read(weights)
            store.write(weights, content_of[:-1] + bytes([content_of[-1] ^ 1]))
            break
    elsewhere("third")
    results = run(file, **warm)
    again = [stage["name"] for stage in results["stages"] if not stage["reused"]]
    assert again in (["submodel-0"], ["submodel-1"])
    assert content(cached(url)) == local


def test_a_run_killed_in_training_goes_on_elsewhere_from_the_checkpoint_at_the_url(
    local, inputs, tmp_path, elsewhere, warm
):
    url = "s3://ready/killed/first"
    file = write_run(inputs, tmp_path, SHORT + f"output_dir: {url}\n")
    killed = dtm("run", file, fault="dtm.pipeline.streaming:Streaming._upload:2")
    assert killed.returncode == -9, killed.stderr
    store = Remote.open("s3://ready/killed/.dtm-store")
    sent = {name.split("/")[1] for name in store.walk("work")}
    assert len(sent) == 1  # older ones go when a newer one is there
    elsewhere("second")
    run(file, **warm)
    assert [f"checkpoint-{event['at']}" for event in events(url) if event["event"] == "resuming"] == list(
        sent
    )
    assert content(cached(url)) == local
    assert shown(url, tmp_path) == local
    assert not store.walk("work")


@pytest.mark.parametrize(("url", "says"), [
    ("s3://no-such-bucket/run", "no such bucket"), ("s3://key:secret@ready/run", "environment"),
    ("s5://ready/run", "no kind of storage"),
])  # fmt: skip
def test_a_place_that_cannot_be_used_is_told_before_any_work(inputs, tmp_path, elsewhere, url, says):
    file = write_run(inputs, tmp_path, SHORT + f"output_dir: {url}\n")
    with pytest.raises(DtmError, match=says) as caught:
        run(file, quiet=True)
    assert "output_dir" in caught.value.message
    assert "secret" not in caught.value.message
