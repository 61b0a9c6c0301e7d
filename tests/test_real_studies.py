"""The studies of benchmarks/real/: all arms are checked, the command runs on stand-ins, tables are of the results."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dtm.foundations.yaml import load as load_yaml
from dtm.study.arms import Arms
from dtm.study.checking import check
from dtm.study.file import read
from dtm.study.schema import StudyResults
from tests.test_benchmarks import load
from tests.tiny import tiny_model

REAL = Path(__file__).parent.parent / "benchmarks" / "real"
MODULE = load(REAL / "table.py")
RAN = ("small",)  # the studies whose results are kept
WORDS = ["river", "stone", "apple", "cloud", "horse", "lamp", "seven", "green", "north", "quiet"]


def chosen(n):
    return {
        "query": f"Question: what is thing {n}?\nAnswer:",
        "choices": [WORDS[n % 10], WORDS[(n + 3) % 10]],
        "gold": 0,
    }


BENCHMARKS = {
    "arc_easy": chosen, "piqa": chosen, "openbookqa": chosen,
    "lambada": lambda n: {"context": f"The {WORDS[n % 10]} is by the", "continuation": f" {WORDS[(n + 1) % 10]}"},
    "triviaqa": lambda n: {"context": f"Question: which {n}?\nAnswer:", "answer": WORDS[n % 10], "aliases": [f"A{n}"]},
    "jeopardy": lambda n: {"context": f"THINGS: this one is {n}", "continuation": WORDS[n % 10], "category": "things"},
    "mmlu_test": lambda n: {"subject": "things", "question": f"Which {n}?", "choices": WORDS[:4], "answer": n % 4},
    "mmlu_dev": lambda n: {"subject": "things", "question": f"What {n}?", "choices": WORDS[:4], "answer": n % 4},
    "gsm8k_test": lambda n: {"context": f"{n} and 2?", "chain_of_thought": f"{n} + 2", "answer": str(n + 2)},
    "svamp": lambda n: {"context": f"{n} less 1?", "chain_of_thought": f"( {n} - 1 )", "answer": str(n - 1)},
    "ifeval": lambda n: {"key": n, "prompt": f"Say {n} without commas.", "kwargs": [{}],
                         "instruction_id_list": ["punctuation:no_comma"]},
}  # fmt: skip
INSTRUCTIONS = {
    "alpaca": lambda n: {"instruction": f"Name thing {n}.", "input": "", "output": f"{WORDS[n % 10]} {n}"},
    "dolly": lambda n: {"instruction": f"Tell {n}.", "context": "", "response": WORDS[n % 10], "category": "open_qa"},
    "code_alpaca": lambda n: {"instruction": f"Print {n}.", "input": "", "output": f"print({n})"},
    "gsm8k_train": lambda n: {"question": f"What is {n} and 3?", "answer": f"{n} + 3 = {n + 3}\n#### {n + 3}"},
    "flan_cot": lambda n: {"prompt": f"Is {n} even?", "completion": "yes" if n % 2 == 0 else "no"},
    "lima_sharegpt": lambda n: {"conversations": [{"from": "human", "value": f"Hello {n}"},
                                                  {"from": "gpt", "value": WORDS[n % 10]}]},
}  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The studies' files beside stand-ins for the data and for the base."""
    root = tmp_path_factory.mktemp("real") / "checkout"
    shutil.copytree(
        REAL, root / "benchmarks" / "real", ignore=shutil.ignore_patterns("results", "__pycache__")
    )
    for folder, made in (("benchmarks", BENCHMARKS), ("instructions", INSTRUCTIONS)):
        target = root.parent / "shared" / "data" / folder
        target.mkdir(parents=True)
        for name, row in made.items():
            with gzip.open(target / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
                file.writelines(json.dumps(row(n)) + "\n" for n in range(48))
    tiny_model(root / "base")
    load(root / "benchmarks" / "real" / "prepare.py").main(
        root / "build" / "real", root.parent / "shared" / "data" / "benchmarks"
    )
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma", "smollm2", "small"])
def test_every_arm_is_checked(name, checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    arms = Arms(read(checkout / "benchmarks" / "real" / f"{name}.yaml", [f"run.base={checkout / 'base'}"]))
    checked = check(arms)
    assert list(arms.by_name) == [arm["name"] for arm in load_yaml(REAL / f"{name}.yaml").values["arms"]]
    assert {"arc_easy", "piqa", "openbookqa", "lambada"} <= {task.name for task in checked.tasks}


def test_dev_and_test_share_no_item(checkout):
    for name in ("arc_easy", "ifeval", "mmlu"):
        parts = [(checkout / "build/real/benchmarks" / part / f"{name}.jsonl").read_text().splitlines()
                 for part in ("dev", "test")]  # fmt: skip
        assert all(parts)
        assert set(parts[0]).isdisjoint(parts[1])
        assert len(parts[0]) + len(parts[1]) == 48


@pytest.mark.slow
def test_one_command_runs_the_study_keeps_its_results_and_prints_its_tables(checkout):
    folder = checkout / "benchmarks" / "real"
    study, run = (load_yaml(folder / name).values for name in ("small.yaml", "run-small.yaml"))
    study |= {
        "seeds": [0],
        "arms": [arm for arm in study["arms"] if arm["name"] in ("vanilla", "dtm-random-4")],
    }
    run |= {"base": str(checkout / "base"), "launch": {"workers": 1, "threads": 1}}
    run["train"]["args"]["max_steps"] = run["evaluate"]["limit"] = 2
    for entry in run["data"]:
        entry["fraction"] = 1.0
    for name, values in (("small.yaml", study), ("run-small.yaml", run)):
        (folder / name).write_text(yaml.safe_dump(values), encoding="utf-8")
    command = [sys.executable, "benchmarks/real/run.py", "small"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=checkout, check=False)
    assert done.returncode == 0, done.stderr
    assert "| dtm-random-4 | 1 |" in done.stdout
    assert "## Loss on rows kept from training" in done.stdout
    kept = json.loads((folder / "results" / "small.json").read_text(encoding="utf-8"))
    assert {arm["name"] for arm in kept["arms"]} == {"vanilla", "dtm-random-4"}
    assert (folder / "results" / "small-items.parquet").exists()

    wrong = subprocess.run(
        [*command, "-s", "seds=[0]"], capture_output=True, text=True, cwd=checkout, check=False
    )
    assert (wrong.returncode, wrong.stderr.count("Traceback")) == (2, 0)
    assert "Did you mean `seeds`?" in wrong.stderr


@pytest.mark.parametrize("name", RAN)
def test_tables_are_made_from_the_results(name):
    results = MODULE.read(name)
    StudyResults.model_validate(results)
    for table in MODULE.tables(results):
        assert table in (REAL / "README.md").read_text(encoding="utf-8")
    asked = [arm["name"] for arm in load_yaml(REAL / f"{name}.yaml").values["arms"]]
    assert [arm["name"] for arm in results["arms"]] == asked
    assert not any(arm["failures"] for arm in results["arms"])
