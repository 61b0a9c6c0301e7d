"""A run whose output_dir is on a real S3 server: same bytes, found elsewhere, resumed elsewhere after `kill -9`."""

from __future__ import annotations

import json

import pytest

from dtm.foundations.errors import DtmError
from dtm.foundations.files import sha256, walk
from dtm.foundations.launch import Job, LocalLauncher
from dtm.foundations.remote import Remote
from dtm.foundations.urls import cached
from dtm.pipeline import run
from tests import s3_server
from tests.pipeline.conftest import EXEMPT, RUN, dtm, write_run

pytestmark = pytest.mark.skipif(s3_server.missing() is not None, reason=str(s3_server.missing()))
TINY = (
    RUN.replace("output_dir: run\n", "").replace("num_train_epochs: 1", "num_train_epochs: 8")
    .replace("tasks: [{name: sums, path: sums.jsonl}]", "tasks: []").replace("[base, submodels, merged]", "[merged]")
)  # fmt: skip


class Diskless(LocalLauncher):
    """Workers that do not see the driver's disk: the lock beside which they would write is not there."""

    def _message(self, job):
        return {**super()._message(job), **({"lock": "/no/such/folder/lock"} if job.away else {})}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = s3_server.Server(tmp_path_factory.mktemp("s3") / "server")
    one.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in one.environment().items():
            patch.setenv(name, value)
        yield one
    one.kill()


@pytest.fixture(scope="module")
def nodes(server, tmp_path_factory):
    """A worker with a cache of its own, kept for all runs, and that cache."""
    cache = tmp_path_factory.mktemp("node")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DTM_CACHE", str(cache))
        with Diskless(workers=1, threads=1, log=cache / "workers.log") as launcher:
            launcher.map([Job("start", "dtm.foundations.launch.worker:nothing")])  # with this environment
            yield {"launcher": launcher, "quiet": True}, cache


@pytest.fixture
def elsewhere(nodes, monkeypatch, tmp_path):
    """Makes this process another machine: an empty cache, the same keys."""

    def move(name):
        monkeypatch.setenv("DTM_CACHE", str(tmp_path / name))

    move("first")
    return move


@pytest.fixture(scope="module")
def local(inputs, tmp_path_factory, nodes):
    """What the same run gives on this machine alone."""
    out = tmp_path_factory.mktemp("local")
    run(write_run(inputs, out, TINY + f"output_dir: {out / 'run'}\n"), **nodes[0])
    return content(out / "run")


def content(folder):
    """sha256 of all that must be the same bytes in equal runs, and the block of results; cards quote the run file."""
    apart = {*EXEMPT, "README.md"}
    files = {
        name: sha256(path) for name, path in walk(folder)
        if path.name not in apart and path.name[0] != "." and not name.startswith("logs/")
    }  # fmt: skip
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


def test_a_run_killed_in_training_goes_on_elsewhere_and_a_third_machine_does_nothing_again(
    local, inputs, tmp_path, elsewhere, nodes
):
    url, (options, cache) = "s3://ready/runs/first", nodes
    file = write_run(inputs, tmp_path, TINY + f"output_dir: {url}\n")
    store = Remote.open("s3://ready/runs/.dtm-store")
    killed = dtm("run", file, fault="dtm.pipeline.streaming:Streaming._upload:2")
    assert killed.returncode == -9, killed.stderr
    sent = {name.split("/")[1] for name in store.walk("work")}

    elsewhere("second")
    run(file, **options)
    resumed = [f"checkpoint-{event['at']}" for event in events(url) if event["event"] == "resuming"]
    assert resumed
    assert resumed[0] in sent
    assert content(cached(url)) == shown(url, tmp_path) == local
    assert not store.walk("work")  # checkpoints go with their training
    there = {json.loads(path.read_text())["step"] for path in cache.rglob("objects/*/manifest.json")}
    assert {"prepare_base", "disperse", "train"} <= there  # the worker fetched two and made the third
    log = Remote.open(url).read("log.jsonl")

    elsewhere("third")
    results = run(file, **options)
    assert {stage["name"] for stage in results["stages"] if not stage["reused"]} == set()
    assert content(cached(url)) == local
    assert Remote.open(url).read("log.jsonl").startswith(log)


@pytest.mark.parametrize(("url", "says"), [
    ("s3://no-such-bucket/run", "no such bucket"), ("s3://key:secret@ready/run", "environment"),
    ("s5://ready/run", "no kind of storage"),
])  # fmt: skip
def test_a_place_that_cannot_be_used_is_told_before_any_work(inputs, tmp_path, elsewhere, url, says):
    file = write_run(inputs, tmp_path, TINY + f"output_dir: {url}\n")
    with pytest.raises(DtmError, match=says) as caught:
        run(file, quiet=True)
    assert "output_dir" in caught.value.message
    assert "secret" not in caught.value.message
