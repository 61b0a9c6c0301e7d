"""Every shipped run file runs: on a tiny base, with files of our own where it names data that we may not ship."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from dtm.foundations.yaml import load
from dtm.pipeline import run
from dtm.study import study
from dtm.testbed import generate
from tests.tiny import tiny_model

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = [
    "base=../base",
    "train.args.max_steps=2",
    "evaluate.limit=2",
    "launch.threads=1",
    "disperse.dimensions=8",
    "sample.limit=6",
    "sample.max_new_tokens=8",
    "prefer.args.max_steps=2",
]


STUDIES = sorted(path.name for path in EXAMPLES.glob("*.yaml") if load(path).values.get("study"))
RUNS = sorted(path.name for path in EXAMPLES.glob("*.yaml") if path.name not in STUDIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_study_runs(name, tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    (checkout / "examples").mkdir(parents=True)
    (checkout / "examples" / name).write_text((EXAMPLES / name).read_text())
    monkeypatch.chdir(checkout)
    generate(checkout / "build" / "testbed", rows=400)
    tiny_model(checkout / "examples" / "base", seed=4)
    settings = ["run.base=base", "run.train.args.max_steps=2", "run.launch.threads=1", "run.evaluate.limit=2",
                "run.dev.tasks.0.limit=2", "run.dev.tasks.1.limit=2", "seeds=[0]", "grid.seeds=[0]",
                "grid.over={train.args.learning_rate: [0.001]}"]  # fmt: skip
    results = study(checkout / "examples" / name, settings, quiet=True)
    arms = {arm["name"]: arm for arm in results["arms"]}
    assert set(arms) == {arm["name"] for arm in load(EXAMPLES / name).values["arms"]}
    assert not any(arm["failures"] for arm in arms.values())
    assert all(arm["scores"] for arm in arms.values())
    assert results["curve"] is not None
    assert (checkout / "studies" / "tax-in-small" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_example_runs(name, tmp_path, monkeypatch):
    checkout = tmp_path / "work" / "checkout"
    (checkout / "examples").mkdir(parents=True)
    (checkout / "examples" / name).write_text((EXAMPLES / name).read_text())
    monkeypatch.chdir(checkout)
    tiny_model(checkout / "base", seed=4)
    generate(checkout / "build" / "testbed", rows=400)
    _stand_ins(load(EXAMPLES / name).values, checkout / "examples")
    results = run(checkout / "examples" / name, SMALL, quiet=True)
    roles = {model["role"] for model in results["results"]["models"]}
    merged = {"submodel", "merged"} if results["run"]["recipe"] == "disperse_then_merge" else set()
    assert roles - {"checkpoint"} >= {"base", "baseline"} | merged
    shown = load(EXAMPLES / name).values["evaluate"].get("models", [])
    assert ("checkpoint" in roles) == ("checkpoints" in shown)
    assert (checkout / results["run"]["config"]["output_dir"] / "report.html").exists()


def _stand_ins(values: dict, root: Path) -> None:
    """Write a small file in the same form for each path that the testbed did not make."""
    for entry in [*values["data"], *values["evaluate"]["tasks"]]:
        path = (root / entry["path"]).resolve()
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt", encoding="utf-8") as file:
            for number in range(80):
                file.write(json.dumps(_row(path, number)) + "\n")


def _row(path: Path, number: int) -> dict:
    if path.parent.name == "instructions":
        return {
            "instruction": f"Name thing {number}.",
            "context": "",
            "response": f"Thing {number}!",
            "category": "qa",
        }
    return {"query": f"Question: Which is {number}?", "choices": [str(number), "none"], "gold": 0}
