"""IFEval's rows: read, asked and scored by rule."""

from __future__ import annotations

import pytest

from dtm.evaluate.kinds import kinds
from dtm.evaluate.lm_eval_task import LocalTask
from dtm.evaluate.tasks import resolve
from dtm.foundations.errors import ConfigError, DataError

ROW = {
    "key": 1,
    "prompt": "Write two words in capitals without commas.",
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"num_words": 3, "relation": "less than", "language": None}],
}


def test_a_response_is_scored_strictly_and_loosely(write, tmp_path):
    (task,) = resolve([write([ROW])], tmp_path)
    assert task.kind == "ifeval"
    assert task.metrics[0] == "prompt_strict"
    assert task.chance is None
    scores = LocalTask(task).process_results
    assert set(scores(task.items[0], ["TWO WORDS"]).values()) == {1}
    assert scores(task.items[0], ["TWO, WORDS AND MORE"]) == {
        "prompt_strict": 0, "prompt_loose": 0, "instruction_strict": 0, "instruction_loose": 0,
    }  # fmt: skip
    assert scores(task.items[0], ["Sure, here:\nTWO WORDS"]) == {
        "prompt_strict": 0, "prompt_loose": 1, "instruction_strict": 0, "instruction_loose": 1,
    }  # fmt: skip
    assert scores(task.items[0], ["TWO, WORDS"])["instruction_strict"] == 0.5
    assert set(scores(task.items[0], [" "]).values()) == {0}


def test_a_model_is_evaluated(run):
    result = run([ROW, {**ROW, "prompt": "Say something."}], entry={"max_tokens": 8})
    assert set(result.scores) == set(kinds["ifeval"].properties["metrics"])
    for item in result.items:
        assert item["target"] == "punctuation:no_comma, length_constraints:number_words"
        assert isinstance(item["response"], str)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kwargs": [{}]}, "2 instructions, and settings of 1"),
        ({"kwargs": "x"}, "no list of mappings"),
        ({"instruction_id_list": ["punctuation:no_coma", "startend:quotation"]}, "Did you mean"),
        ({"kwargs": [{}, {"num_words": "three"}]}, "num_words"),
        ({"kwargs": [{}, {"relation": "at least"}]}, "needs `num_words`"),
    ],
)
def test_bad_rows_are_told(change, said, write, tmp_path):
    with pytest.raises(DataError, match=said):
        resolve([write([{**ROW, **change}])], tmp_path)


def test_there_are_no_examples_to_show(write, tmp_path):
    with pytest.raises(ConfigError, match=r"evaluate.tasks.0.shots: .*no response"):
        resolve([{"path": write([ROW, ROW]), "shots": 1}], tmp_path)


def test_items_can_be_compared_with_those_of_another_file(write, tmp_path):
    (one,), (other,) = (
        resolve([write([ROW, {**ROW, "key": 2}], name)], tmp_path) for name in ("a.jsonl", "b.jsonl")
    )
    assert len({*one.items, *other.items}) == 2
