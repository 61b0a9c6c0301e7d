"""One undisturbed run of a tiny model on real files; the other tests start from copies of its store."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dtm.foundations.files import sha256, walk
from dtm.foundations.launch import LocalLauncher
from tests.tiny import tiny_model

RUN = """
base: model
data:
  - {path: adds.jsonl, source: adds, license: mit}
  - {path: colours.jsonl, source: colours}
disperse: {method: kmeans, k: 2, dimensions: 8, on: both}
train:
  lora: {r: 4, lora_alpha: 8, lora_dropout: 0.1}
  args: {learning_rate: 1e-3, num_train_epochs: 1, max_length: 128, per_device_train_batch_size: 4}
evaluate:
  tasks: [{name: sums, path: sums.jsonl}]
  models: [base, submodels, merged]
dev: {fraction: 0.1}
launch: {workers: 1, threads: 1}
output_dir: run
"""
EXEMPT = {
    "log.jsonl",
    "workers.log",
    "manifest.json",
    "training_args.bin",
    "report.html",
    "results.json",
    "run.yaml",
    "origin.json",
}


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    """A folder with a base that has no chat template, two sources with bad rows, and a benchmark."""
    folder = tmp_path_factory.mktemp("inputs")
    tiny_model(folder / "model", template=False, seed=1)
    chance = random.Random(0)
    adds = []
    for _ in range(60):
        a, b = chance.randrange(1000), chance.randrange(1000)
        adds.append({"instruction": f"Add {a} and {b}.", "input": "", "output": f"{a} and {b} make {a + b}."})
    colours = [
        {"question": f"What colour is thing {n}?", "answer": chance.choice(["red", "blue"])}
        for n in range(40)
    ]
    lines = [json.dumps(row) for row in adds] + ["{broken", json.dumps({"instruction": "x", "output": ""})]
    lines.append(json.dumps({"instruction": "Write much.", "output": "much " * 200}))
    (folder / "adds.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in colours))
    sums = [
        {"query": f"Question: What is {n} + 1?", "choices": [str(n + 1), str(n + 2)], "gold": 0}
        for n in range(12)
    ]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sums))
    return folder


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """Settings for runs in this process, which share one worker."""
    launcher = LocalLauncher(workers=1, threads=1, log=tmp_path_factory.mktemp("workers") / "workers.log")
    yield {"launcher": launcher, "quiet": True}
    launcher.close()


def moved_copy(first: Path, out: Path) -> Path:
    """A copy of a folder that holds `run/`, with a store of its own: runs find their store by `origin.json`."""
    shutil.copytree(first, out, symlinks=True)
    origin = json.loads((out / "run" / "origin.json").read_text())
    origin |= {"file": str(out / "run.yaml"), "root": str(out), "store": str(out / ".dtm-store")}
    (out / "run" / "origin.json").write_text(json.dumps(origin))
    return out


def write_run(inputs: Path, out: Path, text: str = RUN) -> Path:
    """A run file in `out` beside links to the inputs, so that its text is the same wherever it stands."""
    for path in inputs.iterdir():
        if not (out / path.name).exists():
            (out / path.name).symlink_to(path)
    (out / "run.yaml").write_text(text)
    return out / "run.yaml"


def dtm(
    *arguments: object, fault: str | None = None, driver: bool = False, threads: int = 1
) -> subprocess.CompletedProcess:
    """Run the command in a process of its own, killed at `fault` if given."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "faults"), *_python_path()]),
        "OMP_NUM_THREADS": str(threads),
    }
    environment.pop("FAULT", None)
    if fault:
        environment["FAULT"] = fault
    if driver:
        environment["FAULT_DRIVER"] = "1"
    folder = next((Path(str(one)).parent for one in arguments if str(one).endswith(".yaml")), None)
    command = [sys.executable, "-m", "dtm.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, cwd=folder)


def _python_path() -> list[str]:
    """Where this process looks for dtm, if it was told, so that the command under test is of the same tree."""
    return [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []


@pytest.fixture(scope="session")
def kept_launcher():
    """One worker for all tests that may share it: importing TRL takes ten seconds."""
    with LocalLauncher(workers=1, threads=1) as one:
        yield one


@pytest.fixture(scope="session")
def undisturbed(inputs, tmp_path_factory) -> Path:
    """The folder that holds `run/` and the store of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("undisturbed")
    done = dtm("run", write_run(inputs, out))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def stubbed(undisturbed, inputs, tmp_path, monkeypatch):
    """Runs of four sub-models that are not trained, see stubbed.py."""
    from tests.pipeline.stubbed import prepare

    write_run(inputs, without(undisturbed, tmp_path))
    return prepare(tmp_path, undisturbed / "run" / "submodels" / "0", monkeypatch)


def without(undisturbed: Path, out: Path, *steps: str) -> Path:
    """A copy of the store in which those steps were never done."""
    shutil.copytree(undisturbed / ".dtm-store", out / ".dtm-store")
    for manifest in (out / ".dtm-store" / "objects").glob("*/manifest.json"):
        if json.loads(manifest.read_text())["step"] in steps:
            shutil.rmtree(manifest.parent)
    return out


def content(out: Path, place: str = "run") -> dict[str, str]:
    """sha256 of all that must be the same bytes in equal runs, by name."""
    files = {name: sha256(path) for name, path in walk(out / place)
             if Path(name).name not in EXEMPT and not name.startswith("logs/")}  # fmt: skip
    results = json.loads((out / place / "results.json").read_text())
    return {**files, "results": json.dumps(results["results"], sort_keys=True)}


def without_places(found: dict[str, str]) -> dict[str, str]:
    """Of `content`, what equal runs in other folders and stores share: the card has the run file."""
    return {name: value for name, value in found.items() if name not in ("keys.json", "merged/README.md")}


def events(out: Path) -> dict[str, str]:
    """Whether each step of the last command was `done` or `reused`."""
    found = {}
    for line in (out / "run" / "log.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "run":
            found = {}
        if event["event"] in ("done", "reused"):
            found[event["step"]] = event["event"]
    return found
