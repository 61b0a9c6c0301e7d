"""A language model in a run: its section checked early, a step that is asked once, a key that shows nowhere."""

from __future__ import annotations

import json
import re

import pytest

from dtm.config import read
from dtm.foundations.errors import BackendError, ConfigError
from dtm.foundations.files import walk
from dtm.foundations.launch import LocalLauncher
from dtm.pipeline import run
from dtm.pipeline.check_llm import check_llm
from tests.foundations.llm.server import Server, fault, says
from tests.pipeline.conftest import write_run

SECRET = "sk-not-to-be-seen"


def faults(section):
    file = read({"base": "b", "data": ["d"], "output_dir": "o", "llm": section})
    return [one.message for one in check_llm(file)]


@pytest.mark.parametrize(("section", "told"), [
    ({"model": "m"}, ["llm.base_url: an endpoint needs its address"]),
    ({"model": "m", "base_url": "http://x/v1", "batch_size": 4}, ["llm.batch_size: llm.kind is openai"]),
    ({"model": "m", "base_url": "http://x/v1", "max_cost": 1.0}, ["llm.max_cost: a cost needs prices"]),
    ({"model": "m", "base_url": "http://x/v1", "api_key_env": "NO_SUCH_KEY"}, ["NO_SUCH_KEY is not set"]),
    ({"model": "nowhere", "kind": "hf"}, ["there is no model at 'nowhere'"]),
    ({"model": "wrds", "kind": "rules"}, ["Did you mean 'words'?"]),
    ({"model": "words", "kind": "rules", "settings": {"scale": -1.0}}, ["llm.settings.scale: -1.0 is not a number"]),
    ({"model": "words", "kind": "rules", "max_cost": 1.0, "timeout": 3.0}, ["llm.timeout", "llm.max_cost"]),
    ({"model": "words", "kind": "rules"}, []),
])  # fmt: skip
def test_what_is_wrong_with_the_section_is_told_before_any_work(section, told):
    found = faults(section)
    assert len(found) == len(told)
    assert all(word in message for word, message in zip(told, found, strict=True))


def test_a_key_in_the_file_is_refused_and_not_shown():
    with pytest.raises(ConfigError, match="Did you mean `api_key_env`") as caught:
        faults({"model": "m", "api_key": SECRET})
    assert SECRET not in caught.value.message
    assert SECRET not in "".join(faults({"model": "m", "base_url": "http://x/v1", "api_key_env": SECRET}))


@pytest.fixture(scope="module")
def launcher():
    with LocalLauncher(workers=1, threads=1) as kept:
        yield kept


def graded(inputs, out, server, launcher, *settings, **more):
    """A run that a judge grades the rows of, up to its first training."""
    path = write_run(inputs, out)
    llm = f"llm={{model: m, base_url: '{server.url}', api_key_env: DTM_TEST_KEY, concurrency: 4, retries: 1}}"
    recipe = "recipe={name: phased_ift, scorer: judge, cuts: [3.0]}"
    return run(
        path, [recipe, llm, f"output_dir={out}/run", *settings], launcher=launcher, until="disperse", **more
    )


def grade(prompt):
    """1 for sums, 5 for colours."""
    hard = 5 if "colour" in prompt.partition("### Instruction")[2] else 1
    return json.dumps({"instruction": hard, "response": hard})


def test_a_judge_grades_each_row_once_and_its_key_is_nowhere(inputs, tmp_path, launcher, monkeypatch, capfd):
    monkeypatch.setenv("DTM_TEST_KEY", SECRET)
    with Server([fault(429, retry_after="0"), fault(500), says(grade)]) as server:
        plan = graded(inputs, tmp_path, server, launcher, dry_run=True)
        assert len(server.seen) == 0
        (told,) = plan["totals"]["llm"]
        assert re.match(r"judge: \d+ requests, about [\d,]+ tokens in, at most [\d,]+ out", told)
        results = graded(inputs, tmp_path, server, launcher)
        asked = len(server.seen)
        assert {one["headers"]["Authorization"] for one in server.seen} == {f"Bearer {SECRET}"}
        again = graded(inputs, tmp_path, server, launcher)
        assert len(server.seen) == asked
    (rows,) = [stage for stage in results["stages"] if stage["name"] == "render"]
    assert all(stage["reused"] for stage in again["stages"])
    assert "Stages are by difficulty as judge scores it" in " ".join(results["statement"])
    assert asked == results["data"]["train"] + 2
    assert rows
    printed = "".join(capfd.readouterr())
    assert "requests, about" in printed
    files = [path for _, path in walk(tmp_path) if not path.is_symlink()]
    assert any(path.name == "llm.sqlite" for path in files)
    assert SECRET not in printed
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_run_that_the_endpoint_ended_asks_the_rest_alone(inputs, tmp_path, launcher, monkeypatch):
    monkeypatch.setenv("DTM_TEST_KEY", SECRET)
    whole = [says(grade)] * 30
    with Server(
        [*whole, fault(401, lambda handler: f"bad key {handler.headers['Authorization']}")]
    ) as server:
        with pytest.raises(BackendError, match="DTM_TEST_KEY") as caught:
            graded(inputs, tmp_path, server, launcher, quiet=True)
        assert SECRET not in caught.value.message
    with Server([says(grade)]) as server:
        results = graded(inputs, tmp_path, server, launcher, quiet=True)
        assert len(server.seen) == results["data"]["train"] - 30
    assert not [path for _, path in walk(tmp_path) if SECRET.encode() in path.read_bytes()]


def test_rows_that_the_judge_cannot_grade_are_kept_aside_and_told(inputs, tmp_path, launcher, monkeypatch):
    monkeypatch.setenv("DTM_TEST_KEY", SECRET)

    def sometimes(prompt):
        return "I would rather not." if "thing 7?" in prompt else grade(prompt)

    with Server([says(sometimes)]) as server:
        results = graded(inputs, tmp_path, server, launcher, "llm.repairs=0", quiet=True)
    assert "1 rows have no score, and were trained on in no stage" in " ".join(results["statement"])
    (aside,) = (tmp_path / ".dtm-store").glob("objects/*/aside.jsonl")
    (line,) = [json.loads(one) for one in aside.read_text().splitlines()]
    assert line["reason"] == "there is no JSON in the answer"
    assert line["text"] == "I would rather not."
    assert "thing 7?" in line["inputs"]["instruction"]


def test_a_judge_without_a_model_is_told_before_any_work(inputs, tmp_path):
    with pytest.raises(ConfigError, match="the scorer `judge` asks a language model, and there is none"):
        run(
            write_run(inputs, tmp_path),
            ["recipe={name: phased_ift, scorer: judge}"],
            dry_run=True,
            quiet=True,
        )
