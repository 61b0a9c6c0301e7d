"""Tasks about two instructions that differ in one constraint: asked, judged, and scored against fp64."""

from __future__ import annotations

import pytest

from dtm.evaluate.lm_eval_task import LocalTask
from dtm.evaluate.tasks import resolve
from dtm.foundations.errors import DataError

ROW = {"context": "Say it in capitals:", "answer": "LIMA", "other_context": "Say it in small letters:",
       "other_answer": "lima", "match": "exact"}  # fmt: skip
CHECKED = {"context": "Use no comma.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}],
           "other_context": "Quote it.", "other_instruction_id_list": ["startend:quotation"],
           "other_kwargs": [{}]}  # fmt: skip


def task_of(write, tmp_path, rows, **entry):
    (task,) = resolve([{"path": write(rows), **entry}], tmp_path)
    return task


def test_both_answers_of_a_pair_must_be_right(write, tmp_path):
    task = task_of(write, tmp_path, [ROW])
    scores = LocalTask(task).process_results
    item = task.items[0]
    assert task.metrics[0] == "pair_consistent"
    assert task.chance is None
    assert scores(item, ["LIMA", " lima"]) == {"pair_consistent": 1, "satisfied": 1}
    assert scores(item, ["LIMA", "LIMA"]) == {"pair_consistent": 0, "satisfied": 0.5}
    assert scores(item, ["lima", "LIMA"]) == {"pair_consistent": 0, "satisfied": 0}


def test_pairs_may_be_judged_by_instructions(write, tmp_path):
    task = task_of(write, tmp_path, [CHECKED], kind="pair_consistent")
    scores = LocalTask(task).process_results
    assert scores(task.items[0], ["no", '"yes"'])["pair_consistent"] == 1
    assert scores(task.items[0], ["no, no", '"yes"']) == {"pair_consistent": 0, "satisfied": 0.5}


def test_a_model_answers_both_prompts(run, reference):
    said = [reference.answer(ROW[name], 32).split("\n")[0] for name in ("context", "other_context")]
    found = run([{**ROW, "answer": said[0] or "x", "other_answer": "never"}])
    (item,) = found.items
    assert item["metrics"] == {"pair_consistent": 0, "satisfied": 0.5}
    assert item["response"] == said[0]
    both = run([{**ROW, "answer": said[0], "other_answer": said[1]}], output="both")
    assert both.scores["pair_consistent"]["value"] == 1


def test_contrast_compares_each_response_under_either_prompt(run, reference):
    found = run([ROW], entry={"kind": "pair_contrast"})
    scored = [reference.score(ROW[context] + " ", ROW[answer])[0]
              for context, answer in (("context", "answer"), ("context", "other_answer"),
                                      ("other_context", "other_answer"), ("other_context", "answer"))]  # fmt: skip
    (item,) = found.items
    assert len(item["loglikelihoods"]) == 4
    own, other = (scored[0] > scored[1]), (scored[2] > scored[3])
    assert item["metrics"] == {"contrast": (own + other) / 2, "contrast_both": int(own and other)}
    assert [
        a > b for a, b in zip(item["loglikelihoods"][::2], item["loglikelihoods"][1::2], strict=True)
    ] == [own, other]


def test_a_contrast_is_right_where_it_should_be(write, tmp_path):
    task = task_of(write, tmp_path, [ROW], kind="pair_contrast")
    item = task.items[0]
    asked = list(LocalTask(task).arguments(item, None))
    assert asked == [(ROW["context"], " LIMA"), (ROW["context"], " lima"), (ROW["other_context"], " lima"),
                     (ROW["other_context"], " LIMA")]  # fmt: skip
    scores = LocalTask(task).process_results
    for values, expected in (
        ((-1, -2, -1, -2), (1, 1)),
        ((-1, -2, -2, -1), (0.5, 0)),
        ((-2, -1, -2, -1), (0, 0)),
    ):
        found = scores(item, [(value, False) for value in values])
        assert (found["contrast"], found["contrast_both"]) == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"other_context": ROW["context"]}, "both contexts are the same"),
        ({"other_answer": ""}, "`answer` is empty"),
        ({"other_context": None}, "`context` is missing"),
    ],
)
def test_bad_pairs_are_told(change, said, write, tmp_path):
    with pytest.raises(DataError, match=said):
        resolve([{"path": write([{**ROW, **change}]), "kind": "pair_consistent"}], tmp_path)


def test_a_contrast_of_one_answer_is_none(write, tmp_path):
    with pytest.raises(DataError, match="both answers are the same"):
        resolve([{"path": write([{**ROW, "other_answer": "LIMA"}]), "kind": "pair_contrast"}], tmp_path)
