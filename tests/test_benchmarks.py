"""Figures in the documentation are those of the committed results."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from dtm.foundations.yaml import load as load_yaml
from dtm.report import validate
from dtm.study import study
from dtm.study.arms import Arms
from dtm.study.checking import check
from dtm.study.file import read
from dtm.study.schema import StudyResults
from tests.tiny import tiny_model

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
FIRST, MERGE, TESTBED, DISPERSE, LAUNCH, SOAK = (
    BENCHMARKS / name for name in ("first_run", "merge", "testbed", "disperse", "launch", "soak")
)
STUDIES = ("core", "clean", "map", "splits-hot", "splits-after", "splits-warm", "operators", "arms", "pilot")


def load(path):
    """A script of a benchmark as a module."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(MERGE.glob("results-*.json")), ids=lambda path: path.stem)
def test_merge_tables_are_made_from_their_results(path):
    table = load(MERGE / "table.py").table(json.loads(path.read_text(encoding="utf-8")))
    assert table in (MERGE / "README.md").read_text(encoding="utf-8")


def test_tables_of_dispersing_are_made_from_their_results():
    module = load(DISPERSE / "table.py")
    text = (DISPERSE / "README.md").read_text(encoding="utf-8")
    for table in module.tables():
        assert table in text


def test_each_way_to_part_that_is_measured_is_known_and_asked_for(monkeypatch):
    monkeypatch.syspath_prepend(DISPERSE)
    known = set(load(DISPERSE / "measure.py").METHODS)
    config = json.loads((DISPERSE / "config.json").read_text(encoding="utf-8"))
    for size, by_k in config["sizes"].items():
        results = json.loads((DISPERSE / f"results-{size}.json").read_text(encoding="utf-8"))
        for k, methods in by_k.items():
            assert known.issuperset(methods)
            assert set(results["by_k"][k]) == set(methods)


def test_rows_are_grown_alike_and_a_longer_file_begins_with_a_shorter(tmp_path, monkeypatch):
    from dtm.foundations.types import Examples

    grown = load(DISPERSE / "grown.py")
    monkeypatch.setattr(grown, "BATCH", 40)
    monkeypatch.setattr(grown, "TESTBED_ROWS", 400)
    for name, count in (("short", 50), ("long", 130), ("again", 130)):
        grown.grow(tmp_path / name, count, None)
    short, long, again = (Examples.open(tmp_path / name) for name in ("short", "long", "again"))
    assert long.table.equals(again.table)
    assert long.table.slice(0, 50).equals(short.table)
    assert len(set(long.column("id"))) == 130
    assert long.token_counts()[1].min() > 0


def test_first_runs_tables_are_made_from_its_results():
    module = load(FIRST / "table.py")
    results = json.loads((FIRST / "results.json").read_text(encoding="utf-8"))
    validate(results)
    assert module.tables(results) in (FIRST / "README.md").read_text(encoding="utf-8")


def test_the_page_of_results_shows_what_the_studies_found():
    module, page = (
        load(TESTBED / "table.py"),
        (BENCHMARKS.parent / "docs" / "results.md").read_text(encoding="utf-8"),
    )
    for name in module.SUMMARY:
        assert module.summary(module.read(name)) in page
    assert module.regimes(module.read("map")) in page
    real = load(BENCHMARKS / "real" / "table.py")
    for table in real.tables(real.read("small"))[:2]:
        assert table in page


def test_figures_are_drawn_from_their_results():
    module = load(TESTBED / "figure.py")
    for name in module.done():
        drawn = (BENCHMARKS.parent / "docs" / "images" / f"pareto-{name}.svg").read_text(encoding="utf-8")
        assert drawn == module.figure(module.read(name))
    pilot = load(TESTBED / "curves.py")
    assert pilot.IMAGE.read_text(encoding="utf-8") == pilot.figure(module.read("pilot"))


def test_launch_tables_are_made_from_their_results():
    results = json.loads((LAUNCH / "results.json").read_text(encoding="utf-8"))
    config = json.loads((LAUNCH / "config.json").read_text(encoding="utf-8"))
    assert {name: part["config"] for name, part in results.items()} == config
    text = (LAUNCH / "README.md").read_text(encoding="utf-8")
    for table in load(LAUNCH / "table.py").tables(results):
        assert table in text


def test_the_soaks_tables_are_made_from_its_results_and_its_kills_are_those_of_its_seed(monkeypatch):
    monkeypatch.syspath_prepend(SOAK)
    results = json.loads((SOAK / "results.json").read_text(encoding="utf-8"))
    config = json.loads((SOAK / "config.json").read_text(encoding="utf-8"))
    assert results["config"] == config
    for table in load(SOAK / "table.py").tables(results):
        assert table in (SOAK / "README.md").read_text(encoding="utf-8")
    script = load(SOAK / "run.py")
    soak = script.Soak(Path("soak"), config, SOAK / "results.json")
    for number, one in enumerate(results["rounds"]):
        drawn = script.Round(soak, number, one["kind"])
        assert drawn.random.choice([1, 1, 2]) == one["workers"]
        plans = drawn._plans()
        for kill in one["kills"]:
            assert {name: kill[name] for name in plans[0]} in plans


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The study's files beside small testbeds of its own settings."""
    root = tmp_path_factory.mktemp("checkout")
    folder = root / "benchmarks" / "testbed"
    folder.mkdir(parents=True)
    for path in TESTBED.iterdir():
        if path.suffix in (".yaml", ".json", ".py"):
            (folder / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    settings = json.loads((folder / "testbeds.json").read_text(encoding="utf-8"))
    settings["shared"]["rows"] = 300
    (folder / "testbeds.json").write_text(json.dumps(settings), encoding="utf-8")
    load(folder / "testbeds.py").main(root / "build" / "study")
    load(folder / "pretrain_text.py").main(root / "build" / "study", rows=40)
    tiny_model(root / "build" / "study" / "small", hidden=16, template=False)
    return root


# One arm of each recipe, and those with files of their own; settings, methods and recipes have tests of theirs.
TWO_STEPS = {
    "core": ("vanilla", "wise-ft", "norm-matched", "dtm-kmeans-4"),
    "arms": ("ewc", "curate-superfiltering", "dtm-replay"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TWO_STEPS)
def test_an_arm_of_each_kind_runs_two_steps(name, checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    quick = ["run.train.args.max_steps=2", "run.evaluate.limit=2", "run.launch.threads=1", "seeds=[0]",
             "grid.over={train.args.learning_rate: [0.001]}"]  # fmt: skip
    quick += [f"run.dev.tasks.{one}.limit=2" for one in range(4)]
    results = study(
        _some_arms(checkout / "benchmarks" / "testbed" / f"{name}.yaml", TWO_STEPS[name]), quick, quiet=True
    )
    arms = {arm["name"]: arm for arm in results["arms"]}
    assert set(arms) == set(TWO_STEPS[name])
    assert {name: arm["failures"] for name, arm in arms.items() if arm["failures"]} == {}
    assert all(arm["scores"] and arm["steps"] >= 2 for arm in arms.values())


def _some_arms(file, names):
    """The study with those arms alone, and with as many rows to choose as a small mixture has."""
    values = load_yaml(file).values
    values |= {"arms": [arm for arm in values["arms"] if arm["name"] in names], "against": names[0]}
    for arm in values["arms"]:
        arm["grid"] = False
        if "curate" in arm:
            arm["curate"] = {name: value for name, value in arm["curate"].items() if name != "rows"} | {
                "fraction": 0.5
            }
    some = file.with_name(f"some-{file.name}")
    some.write_text(yaml.safe_dump(values), encoding="utf-8")
    return some


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_of_the_studies_of_the_testbed_is_checked(name, checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    arms = Arms(read(checkout / "benchmarks" / "testbed" / f"{name}.yaml"))
    check(arms)
    assert len(arms.by_name) == len(load_yaml(TESTBED / f"{name}.yaml").values["arms"])


@pytest.mark.parametrize("name", STUDIES)
def test_tables_of_the_testbed_are_made_from_its_results(name):
    module = load(TESTBED / "table.py")
    results = module.read(name)
    StudyResults.model_validate(results)
    text = (TESTBED / "README.md").read_text(encoding="utf-8")
    for maker in module.TABLES[name]:
        assert maker(results) in text
    asked = {arm["name"] for arm in load_yaml(TESTBED / f"{name}.yaml").values["arms"]}
    assert {arm["name"] for arm in results["arms"]} == asked
    assert not any(arm["failures"] for arm in results["arms"])
