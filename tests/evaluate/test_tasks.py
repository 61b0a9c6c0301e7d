"""Entries, kinds and benchmark files: what is understood, and what each mistake is told."""

from __future__ import annotations

import gzip
import json

import pytest

from dtm.evaluate import build, resolve
from dtm.evaluate.kinds import kinds
from dtm.foundations.errors import ConfigError, DataError, DtmError, MethodError, MissingInput

ROWS = {
    "multiple_choice": {"query": "Question: What do bees make?", "choices": ["honey", "milk"], "gold": 0},
    "lettered_choice": {"subject": "", "question": "What is 2 + 2?", "choices": ["4", "5", "6"], "answer": 0},
    "schema": {"context_options": ["It was he", "It was she"], "continuation": "who ran.", "gold": 1},
    "continuation": {"context": "The sea is", "continuation": "wide"},
    "exact_match": {"context": "Question: Who?\nAnswer:", "answer": "Ann", "aliases": ["Anna", "Ann"]},
    "number": {"context": "How many?", "chain_of_thought": "1 + 1 = <<1+1=2>>2", "answer": "1,002"},
    "truthfulqa_mc1": {"Question": "Is it so?", "Best Answer": "No", "Correct Answers": "No; Not at all",
                       "Incorrect Answers": "Yes; Maybe;", "Source": "none", "Type": "", "Category": ""},
    "ifeval": {"key": 1, "prompt": "Write.", "instruction_id_list": ["startend:quotation"], "kwargs": [{}]},
    "pair_consistent": {"context": "In capitals.", "answer": "A", "other_context": "In small letters.",
                        "other_answer": "a", "match": "exact"},
}  # fmt: skip


@pytest.fixture
def one(tmp_path, write):
    """The task of some rows under an entry's keys."""

    def resolve_one(rows, **entry):
        (task,) = resolve([{"path": write(rows), **entry}], tmp_path)
        return task

    return resolve_one


@pytest.mark.parametrize("kind", ROWS)
def test_a_kind_is_known_by_its_columns(one, kind):
    task = one([ROWS[kind]])
    assert task.kind == kind
    assert task.name == "task"
    assert build(json.loads(json.dumps(task.spec))) == task


def test_every_kind_is_covered_here():
    assert {*ROWS, "pair_contrast"} == set(
        kinds
    )  # which has the columns of pair_consistent, and is asked for by name


def test_a_row_of_answers_without_aliases_is_exact_match(one):
    assert one([{"context": "Who?", "answer": "Ann"}]).items[0].answers == ("Ann",)


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("Question: Why?", "Question: Why?\nAnswer:"),
        ("Question: Why?\n", "Question: Why?\nAnswer:"),
        ("Question: Why?\nAnswer:", "Question: Why?\nAnswer:"),
        ("Predators eat", "Predators eat"),
        ("There is fog around:", "There is fog around:"),
    ],
)
def test_only_questions_get_an_answer_line(one, query, asked):
    assert one([{"query": query, "choices": ["a", "b"], "gold": 0}]).items[0].contexts == (asked,)


def test_an_entry_may_say_what_follows_a_question(one):
    assert one([ROWS["multiple_choice"]], suffix="\nA:").items[0].contexts[0].endswith("make?\nA:")
    assert one([ROWS["continuation"]], suffix="\nAnswer:").items[0].contexts == ("The sea is\nAnswer:",)


def test_truthfulqa_places_the_best_answer_by_the_question(one):
    rows = [{**ROWS["truthfulqa_mc1"], "Question": f"Is it {number}?"} for number in range(60)]
    items = one(rows).items
    assert all(item.continuations[item.gold] == "No" for item in items)
    assert all(sorted(item.continuations) == ["Maybe", "No", "Yes"] for item in items)
    assert {item.gold for item in items} == {0, 1, 2}


def test_worked_examples_show_the_answer(one):
    worked = {kind: one([row]).items[0].worked for kind, row in ROWS.items()}
    assert worked == {
        "multiple_choice": "honey", "lettered_choice": "A", "schema": "who ran.", "continuation": "wide",
        "exact_match": "Ann", "number": "1 + 1 = 2\nThe answer is 1,002.", "truthfulqa_mc1": "No",
        "ifeval": "", "pair_consistent": "A",
    }  # fmt: skip


def test_chance_is_the_mean_of_one_in_so_many(one):
    rows = [{"query": "a", "choices": ["x"] * n, "gold": 0} for n in (2, 4)]
    assert one(rows).chance == pytest.approx(0.375)
    assert one([ROWS["schema"]]).chance == 0.5
    assert one([ROWS["continuation"]]).chance is None


def test_a_limit_draws_the_same_rows_nested_and_spread(one):
    rows = [{"context": str(number), "continuation": "x"} for number in range(400)]
    drawn = {limit: [item.row for item in one(rows, limit=limit).items] for limit in (20, 100, 400, 999)}
    assert drawn[400] == drawn[999] == list(range(400))
    assert set(drawn[20]) < set(drawn[100])
    assert drawn[100] == sorted(drawn[100])
    assert len(drawn[100]) == 100
    assert max(drawn[20]) > 200  # the first rows of a file sorted by subject would be one subject


def test_a_default_limit_yields_to_the_entrys(tmp_path, write):
    path = write([ROWS["continuation"] | {"context": str(n)} for n in range(9)])
    entries = [path, {"name": "other", "path": path, "limit": 2}]
    assert [len(task.items) for task in resolve(entries, tmp_path, limit=4)] == [4, 2]


def test_a_split_is_a_column(one):
    rows = [{**ROWS["continuation"], "split": part} for part in ("dev", "test", "test")]
    task = one(rows, split="test")
    assert [item.row for item in task.items] == [1, 2]
    with pytest.raises(DataError, match=r"no row has the split 'tset'.*dev, test"):
        one(rows, split="tset")


def test_examples_come_by_group(one, write):
    dev = [{"subject": subject, "question": f"{n}?", "choices": ["a", "b"], "answer": 0}
           for n in range(3) for subject in ("art", "law")]  # fmt: skip
    test = [{"subject": "law", "question": "Which?", "choices": ["a", "b"], "answer": 1}]
    task = one(test, shots=2, shots_from=write(dev, "dev.jsonl"))
    assert [item.context[:2] for item in task.examples["law"]] == ["0?", "1?"]
    assert len(task.items) == 1
    with pytest.raises(DataError, match="not enough rows of law for 4 examples"):
        one(test, shots=4, shots_from=write(dev, "dev.jsonl"))


def test_no_group_vanishes_into_examples(one):
    rows = [{"subject": subject, "question": "Which?", "choices": ["a", "b"], "answer": 1}
            for subject in ("art", "law", "law")]  # fmt: skip
    with pytest.raises(DataError, match="not enough rows of art for 1 examples"):
        one(rows, shots=1)
    assert [item.group for item in one([*rows, rows[0]], shots=1).items] == ["law", "art"]


def test_the_fingerprint_follows_what_can_change_a_score(tmp_path, write):
    def fingerprint(rows, file="task.jsonl", **entry):
        return resolve([{"path": write(rows, file), **entry}], tmp_path)[0].fingerprint

    rows = [ROWS["exact_match"], {**ROWS["exact_match"], "context": "x"}]
    base = fingerprint(rows)
    assert fingerprint(rows, "renamed.jsonl", name="other") == base
    different = [fingerprint(rows[:1]), fingerprint(rows, limit=1), fingerprint(rows, max_tokens=9),
                 fingerprint(rows, shots=1), fingerprint(rows, case_sensitive=True)]  # fmt: skip
    assert len({base, *different}) == 6
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "task.jsonl").read_bytes()))
    assert resolve([str(packed)], tmp_path)[0].fingerprint == base


def test_csv_is_read_as_well(tmp_path):
    (tmp_path / "truth.csv").write_text(
        '\ufeffQuestion,Best Answer,Correct Answers,Incorrect Answers\n"Is it, or\nnot?",No,No,Yes; Maybe\n'
    )
    (task,) = resolve(["truth.csv"], tmp_path)
    assert task.items[0].contexts == ("Q: Is it, or\nnot?\nA:",)
    (tmp_path / "truth.csv").write_text("Question,Best Answer,Correct Answers,Incorrect Answers\nIs it?,No\n")
    with pytest.raises(DataError, match=r"truth.csv:2.*number of cells"):
        resolve(["truth.csv"], tmp_path)


def test_line_separators_inside_a_text_end_no_row(one):
    assert one([{"context": "a\u2028b\x85c", "continuation": "d"}]).items[0].contexts == ("a\u2028b\x85c",)


CHOICE = ROWS["multiple_choice"]
BAD = [
    ({**CHOICE, "gold": 2}, "`gold` is 2, but there are 2 choices"),
    ({**CHOICE, "gold": -1}, "`gold` is -1"),
    ({**CHOICE, "gold": "0"}, "`gold` is '0', not a whole number"),
    ({**CHOICE, "gold": True}, "`gold` is True"),
    ({"query": "a", "choices": ["b", "c"]}, "`gold` is missing"),
    ({**CHOICE, "choices": ["one"]}, "at least 2"),
    ({**CHOICE, "choices": ["one", " "]}, "an entry of `choices` is empty"),
    ({**CHOICE, "choices": "ab"}, "not a list of texts"),
    ({**CHOICE, "query": ""}, "`query` is empty"),
    ({**CHOICE, "query": None}, "`query` is missing"),
    ({**CHOICE, "query": "half \ud800"}, "surrogate"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_bad_row_is_named_by_its_line(one, row, reason):
    with pytest.raises(DataError) as caught:
        one([CHOICE, row, CHOICE], kind="multiple_choice")
    assert "task.jsonl:2: 1 row cannot be used: line 2:" in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("number", {"answer": "none"}, "holds no number"),
        ("exact_match", {"match": "eksact"}, "`match` is 'eksact'"),
        ("exact_match", {"stop": "never"}, "`stop` is 'never'"),
        ("truthfulqa_mc1", {"Incorrect Answers": " ; "}, "no incorrect answers"),
        ("lettered_choice", {"choices": ["x"] * 27}, "more than there are letters"),
    ],
)
def test_kinds_refuse_rows_that_make_no_sense(one, kind, change, reason):
    with pytest.raises(DataError, match=reason):
        one([{**ROWS[kind], **change}])


def test_bad_rows_are_all_counted_and_the_first_listed(tmp_path):
    path = tmp_path / "task.jsonl"
    path.write_text(json.dumps(CHOICE) + "\n\n{broken\n[1]\n" + '{"query": "a"}\n' * 6)
    with pytest.raises(DataError) as caught:
        resolve([str(path)], tmp_path)
    said = str(caught.value)
    assert "task.jsonl:3: 8 rows cannot be used: line 3: not JSON" in said
    assert "line 4: not a JSON object; line 5:" in said
    assert "; and 3 more" in said


def failure(entries, root, kind: type[DtmError], **options) -> str:
    with pytest.raises(kind) as caught:
        resolve(entries, root, **options)
    return str(caught.value)


def test_files_that_are_none(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n \n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"a": "b"}\n{"a": "\xff"}\n')
    (tmp_path / "torn.jsonl.gz").write_bytes(gzip.compress(b"{}" * 500)[:-9])
    (tmp_path / "folder.jsonl").mkdir()
    assert "empty.jsonl: the file holds no row" in failure(["empty.jsonl"], tmp_path, DataError)
    assert "latin.jsonl:2: this is not UTF-8" in failure(["latin.jsonl"], tmp_path, DataError)
    assert "torn.jsonl.gz: the gzip file is damaged" in failure(["torn.jsonl.gz"], tmp_path, DataError)
    assert "folder.jsonl: this is a folder" in failure(["folder.jsonl"], tmp_path, DataError)
    assert "no such file" in failure(["absent.jsonl"], tmp_path, MissingInput)


def test_rows_of_no_kind_are_told_the_kinds(one):
    with pytest.raises(DataError, match=r"task.jsonl:1: a row with text, label is of no known kind.*schema:"):
        one([{"text": "a", "label": 1}])


def test_benchmarks_that_run_code_are_refused(one, write, tmp_path):
    code = {
        "task_id": "HumanEval/0",
        "prompt": "def f():",
        "entry_point": "f",
        "test": "",
        "canonical_solution": "",
    }
    with pytest.raises(DataError, match="humaneval's, which cannot be evaluated: it runs the code"):
        one([code])
    assert "humaneval cannot" in failure(
        [{"path": write([code]), "kind": "humaneval"}], tmp_path, ConfigError
    )


@pytest.mark.parametrize(
    ("entry", "kind", "said"),
    [
        ({}, ConfigError, "evaluate.tasks.0: an entry needs"),
        (7, ConfigError, "evaluate.tasks.0: 7 is neither"),
        ({"name": "arc_easy", "limit": 0}, ConfigError, "evaluate.tasks.0.limit: 0 is not"),
        ({"name": "arc_easy", "limit": True}, ConfigError, "limit: True is not"),
        ({"name": "arc_easy", "shots": -1}, ConfigError, "shots: -1 is not"),
        ({"name": "arc_easy", "split": "test"}, ConfigError, "`split` has no meaning for the lm-eval task"),
        ({"name": "arc_eazy"}, MethodError, "Did you mean 'arc_easy'"),
        ({"name": "../up", "path": "task.jsonl"}, ConfigError, "cannot be a task's name"),
        ({"name": 3}, ConfigError, "evaluate.tasks.0.name: 3 is not text"),
        ({"path": "task.jsonl", "kind": "multiple_choise"}, MethodError, "Did you mean 'multiple_choice'"),
        ({"path": "task.jsonl", "sufix": "x"}, MethodError, "Did you mean 'suffix'"),
        ({"path": "task.jsonl", "suffix": 3}, ConfigError, "3 is not text"),
        ({"path": "task.jsonl", "shots": None}, ConfigError, "shots: None is not"),
        ({"path": "task.jsonl", "shots_from": "task.jsonl"}, ConfigError, "Set `shots`"),
    ],
)
def test_a_wrong_entry_is_told_where_and_how(tmp_path, write, entry, kind, said):
    write([CHOICE])
    assert said in failure([entry], tmp_path, kind)


def test_all_mistakes_come_at_once_and_where_the_caller_says(tmp_path, write):
    path = write([CHOICE])
    said = failure([path, path, {"path": "absent.jsonl"}, {"name": "x", "limit": 0}], tmp_path, ConfigError,
                   where=lambda key: f"run.yaml: {key}")  # fmt: skip
    assert "3 things are wrong" in said
    assert "run.yaml: evaluate.tasks.3.limit" in said
    assert "two tasks are called 'task'" in said


def test_tasks_of_lm_eval_are_known_without_the_network(tmp_path):
    (task, other) = resolve(["arc_easy", {"name": "mmlu", "limit": 5, "shots": 2}], tmp_path)
    assert (task.kind, task.items, task.chance, task.spec["shots"]) == ("hub", (), None, None)
    assert task.fingerprint != other.fingerprint
    assert build(other.spec) == other
