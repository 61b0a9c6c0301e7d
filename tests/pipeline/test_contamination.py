"""Overlap with the tasks, and what the quality of a split says, in a run that stops after dispersing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dtm.foundations.errors import ConfigError, DtmError
from dtm.pipeline import run
from dtm.pipeline.contamination import _said
from dtm.report import validate
from tests.tiny import tiny_model

LEAK = "Which of the two old towns on the river was the first to build a bridge of stone?"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base, data of two sources in which some rows ask what tasks ask, and two tasks."""
    folder = tmp_path_factory.mktemp("contamination")
    tiny_model(folder / "model", seed=1)
    rows = [
        {"instruction": f"Add {n} and {n * 7} for me please.", "output": f"They make {8 * n}."}
        for n in range(40)
    ]
    rows[5] = {"instruction": f"Tell me. {LEAK.upper()}", "output": "Ulm."}
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    talk = [
        {"question": f"What colour is thing {n}?", "answer": "red" if n % 2 else "blue"} for n in range(20)
    ]
    talk[11]["question"] = "Say, who wrote the book Dracula?"
    (folder / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in talk))
    towns = [{"query": f"Question: {LEAK}", "choices": ["Ulm", "Bern"], "gold": 0},
             {"query": "Question: Why?", "choices": ["so", "no"], "gold": 0}]  # fmt: skip
    (folder / "towns.jsonl").write_text("".join(json.dumps(row) + "\n" for row in towns))
    books = [{"context": "Question: Who wrote the book Emma?\nAnswer:", "answer": "Jane Austen"},
             {"context": "Question: Who wrote the book Dracula?\nAnswer:", "answer": "Bram Stoker"}]  # fmt: skip
    (folder / "books.jsonl").write_text("".join(json.dumps(row) + "\n" for row in books))
    return folder


def disperse(place, out, **more):
    config = {
        "base": str(place / "model"), "output_dir": str(out), "dev": {"fraction": 0},
        "data": [{"path": str(place / "sums.jsonl"), "weight": 2}, {"path": str(place / "talk.jsonl")}],
        "disperse": {"method": "kmeans", "k": 2, "dimensions": 8}, "train": {"args": {"max_length": 256}},
        "evaluate": {"tasks": [str(place / "towns.jsonl"), str(place / "books.jsonl")]},
        "launch": {"device": "cpu", "threads": 1}, **more,
    }  # fmt: skip
    return run(config, until="disperse", quiet=True)


@pytest.fixture(scope="module")
def measured(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("measured") / "run"
    return disperse(place, out), out


def test_what_overlaps_is_listed_with_its_place_and_items(measured):
    results, out = measured
    validate(results)
    found = results["data"]["contamination"]
    assert found["tasks"] == [{"task": "towns", "items": 2, "compared": 1, "found": 1, "rows": 2},
                              {"task": "books", "items": 2, "compared": 2, "found": 1, "rows": 1}]  # fmt: skip
    assert (found["read"], found["rows"], found["dropped"], found["ngram"]) == (100, 3, False, 13)
    lines = [json.loads(line) for line in (out / "contaminated.jsonl").read_text().splitlines()]
    told = sorted((Path(line["file"]).name, line["line"], line["tasks"]) for line in lines)
    town, book = {"towns": {"count": 1, "items": [0]}}, {"books": {"count": 1, "items": [1]}}
    assert told == [("sums.jsonl", 6, town), ("sums.jsonl", 6, town), ("talk.jsonl", 12, book)]
    assert any("towns 1 of 2, books 1 of 2" in line for line in results["statement"])


def test_the_split_has_its_figures_and_files(measured):
    results, out = measured
    found = results["split"]
    assert found["balance"]["rows"] == 1.0
    assert found["similarity"]["of"] == "embedding"
    assert len(found["map"]["x"]) == 100
    assert 0 <= found["agreement"]["mutual_information"] <= 1
    assert json.loads((out / "portions" / "quality.json").read_text()) == found
    listed = (out / "portions" / "near_duplicates.csv").read_text().splitlines()
    assert listed[0] == "group,portion,id"
    assert len(listed) == 1 + found["near_duplicates"]["crossing_rows"]


def test_decontaminate_drops_them_with_a_reason_and_nothing_else(place, measured, tmp_path):
    results = disperse(
        place, tmp_path / "run", decontaminate={}, store=str(measured[1].parent / ".dtm-store")
    )
    validate(results)
    lines = [json.loads(line) for line in (tmp_path / "run" / "dropped.jsonl").read_text().splitlines()]
    assert {(Path(line["file"]).name, line["line"], line["reason"]) for line in lines} == {
        ("sums.jsonl", 6, "overlaps with a task (towns: 1)"), ("talk.jsonl", 12, "overlaps with a task (books: 1)")
    }  # fmt: skip
    (reason,) = results["data"]["reasons"]
    assert (reason["reason"], reason["count"]) == ("overlaps with a task", 2)
    assert [place["line"] for place in reason["examples"]] == [6, 12]
    assert results["data"]["train"] == 97
    assert sum(portion["rows"] for portion in results["portions"]) == 97
    assert results["data"]["contamination"]["dropped"]
    assert not any("decontaminate" in line for line in results["statement"])
    stages = {stage["name"]: stage["reused"] for stage in results["stages"]}
    assert (stages["load"], stages["contamination"], stages["render"]) == (True, True, False)


def test_the_tasks_to_compare_with_may_be_named_apart_from_those_that_are_scored(place, measured, tmp_path):
    named = {"tasks": [{"name": "towns", "path": str(place / "towns.jsonl")}]}
    store = str(measured[1].parent / ".dtm-store")
    results = disperse(place, tmp_path / "run", decontaminate=named, evaluate={"tasks": []}, store=store)
    assert [task["task"] for task in results["data"]["contamination"]["tasks"]] == ["towns"]
    assert results["data"]["train"] == 98
    with pytest.raises(DtmError, match=r"decontaminate\.tasks\.0"):
        disperse(place, tmp_path / "other", decontaminate={"tasks": ["no such.jsonl"]})


def test_a_shorter_ngram_finds_more(place, measured, tmp_path):
    store = str(measured[1].parent / ".dtm-store")
    found = disperse(place, tmp_path / "run", decontaminate={"ngram": 5}, store=store)["data"][
        "contamination"
    ]
    assert found["ngram"] == 5
    assert found["rows"] == 3
    assert {row["task"]: row["found"] for row in found["tasks"]} == {"towns": 1, "books": 1}


@pytest.mark.parametrize(
    ("wrong", "said"), [({"ngram": 3}, "greater than or equal to 5"), ({"n": 13}, "there is no such key")]
)
def test_a_wrong_setting_is_refused(place, tmp_path, wrong, said):
    with pytest.raises(ConfigError, match=said):
        disperse(place, tmp_path / "run", decontaminate=wrong)


def test_without_a_task_to_compare_with_decontaminate_is_refused(place, tmp_path):
    with pytest.raises(ConfigError, match="no task of a local file to compare"):
        disperse(place, tmp_path / "run", decontaminate={}, evaluate={"tasks": []})


def test_without_tasks_nothing_is_measured(place, measured, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.yaml").write_text("")
    (tmp_path / "run" / "contaminated.jsonl").write_text("old\n")
    results = disperse(
        place, tmp_path / "run", evaluate={"tasks": []}, store=str(measured[1].parent / ".dtm-store")
    )
    validate(results)
    assert results["data"]["contamination"] == {}
    assert not (tmp_path / "run" / "contaminated.jsonl").exists()


def test_labels_of_prompts_are_no_words_of_an_item(tmp_path):
    from dtm.evaluate.tasks import resolve

    contexts = ["The cup fell so it", "The cup stood so it"]
    rows = {"a": {"question": "What is Q: like?", "choices": ["x", "y"], "answer": 1},
            "b": {"context_options": contexts, "continuation": " broke.", "gold": 0},
            "c": {"context": "Question: Who?\nAnswer:", "answer": "Me"}}  # fmt: skip
    for name, row in rows.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    tasks = resolve([f"{name}.jsonl" for name in rows], tmp_path)
    assert [[" ".join(text.split()) for text in _said(task, task.items[0])] for task in tasks] == [
        ["What is Q: like?", "What is Q: like? A. x B. y"], [contexts[0], f"{contexts[0]} broke."], ["Who?", "Who? Me"]
    ]  # fmt: skip
