"""Each scorer against its formula; the loss without the instruction against transformers, a row at a time."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from dtm.foundations.errors import MethodError
from dtm.foundations.llm import LLM, CannotAnswer, Request, Rules, generate
from dtm.foundations.registry import Method
from dtm.foundations.scorers import bind_scorer
from dtm.foundations.scorers.judge import Difficulty, requests
from dtm.foundations.signals.alone import alone, rendered_by, without_instruction
from dtm.foundations.types import SCHEMA, TOKENS, Examples
from tests.foundations.signals.rendered import job_of, quiet
from tests.tiny import tiny_model

TALK = [
    [("user", "the thing"), ("assistant", "in the end")],
    [
        ("system", "on and on"),
        ("user", "a b c"),
        ("assistant", "the other"),
        ("user", "more"),
        ("assistant", "and"),
    ],
    [("text", "a plain document")],
]


def examples(*metas, talk=None):
    talk = talk or [TALK[0]] * len(metas)
    rows = [
        {"id": str(number), "source": "s", "parent": None, "family": str(number), "meta": meta,
         "messages": [{"role": role, "content": content} for role, content in turns]}
        for number, (turns, meta) in enumerate(zip(talk, metas or [None] * len(talk), strict=True))
    ]  # fmt: skip
    return Examples(pa.Table.from_pylist(rows, schema=SCHEMA))


def test_loss_and_ifd():
    rows, loss_N, alone_N = examples("", "", ""), np.array([1.0, 3.0, 0.0]), np.array([2.0, 1.5, 0.0])
    assert bind_scorer("loss")(rows, loss=loss_N).tolist() == loss_N.tolist()
    found = bind_scorer("ifd")(rows, loss=loss_N, alone=alone_N)
    assert found[:2].tolist() == [0.5, 2.0]
    assert np.isnan(found[2])


@pytest.mark.parametrize(
    ("of", "expected"), [("response", [3, 4]), ("instruction", [7, 1]), ("both", [10, 5])]
)
def test_length(of, expected):
    tokens = np.array([10, 5]), np.array([3, 4])
    assert bind_scorer({"name": "length", "of": of})(examples("", ""), tokens=tokens).tolist() == expected


def test_a_field_of_the_data():
    metas = [json.dumps(one) for one in ({"hard": 2}, {"a": {"hard": 1.5}}, {"hard": "very"}, {"hard": True})]
    more = [json.dumps({"hard": text}) for text in ("4.5", "inf", "nan", "")]  # text, as Alpaca's scores are
    found = bind_scorer({"name": "field", "field": "hard"})(examples(*metas, None, *more))
    assert found[[0, 5]].tolist() == [2, 4.5]
    assert np.isnan(np.delete(found, [0, 5])).all()
    assert bind_scorer({"name": "field", "field": "a.hard"})(examples(*metas))[1] == 1.5


def test_a_judge_weighs_two_grades_and_passes_on_what_it_could_not_grade():
    grades = np.array([[1.0, 4.0], [np.nan, np.nan]])
    found = bind_scorer({"name": "judge", "weight": 0.25})(examples("", ""), judge=grades)
    assert found[0] == 0.25 * 1 + 0.75 * 4
    assert np.isnan(found[1])


def test_a_judge_is_asked_for_each_row_with_all_that_it_must_know():
    asked = requests(examples(talk=TALK[:2]))
    assert [one.inputs["response"] for one in asked] == ["in the end", "the other\n\nand"]
    for one in asked:
        assert one.schema is Difficulty
        assert all(text in one.messages[0]["content"] for text in one.inputs.values())


def test_rules_grade_where_no_judge_is():
    def planted(request: Request):
        if request.inputs["response"] == "in the end":
            return {"instruction": 1.0, "response": 2.0}
        raise CannotAnswer("no rule")

    rules = Rules(Method("rules", "planted", planted).bind({}))
    first, second = generate(requests(examples(talk=TALK[:2])), rules, LLM(kind="rules", model="planted"))
    assert first.value == Difficulty(instruction=1, response=2)
    assert second.failure == "no rule"


@pytest.mark.parametrize(("said", "told"), [
    ("lenght", "Did you mean 'length'"), ({"name": "length", "off": 1}, "off"), ({"name": "field"}, "needs `field`"),
    ({"of": "both"}, "no scorer"), ({"name": "judge", "weight": 2.0}, "from 0 to 1"),
])  # fmt: skip
def test_wrong_names_and_settings(said, told):
    with pytest.raises((MethodError, ValueError), match=told):
        bind_scorer(said)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("base") / "model", hidden=16, seed=4, max_length=128)


def test_the_loss_without_the_instruction_is_transformers_loss_of_the_bare_text(base, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64).eval()
    rendered_by(examples(talk=TALK), str(base)).save(tmp_path / "rows.arrow")
    job = job_of(base, tmp_path / "rows.arrow", tmp_path)
    assert alone(job, quiet) == {"rows": 3}
    found = np.load(f"{job['output']}/alone.npy")
    start, end = "<|im_start|>", "<|im_end|>\n"
    pieces = [
        [f"{start}user\n{end}{start}assistant\n", "in the end<|im_end|>"],
        [f"{start}system\n{end}{start}user\n{end}{start}assistant\n", "the other<|im_end|>",
         f"\n{start}user\n{end}{start}assistant\n", "and<|im_end|>"],
    ]  # fmt: skip
    for row, parts in enumerate(pieces):
        ids, told = [], []
        for number, part in enumerate(parts):
            own = tokenizer(part, add_special_tokens=False)["input_ids"]
            ids, told = ids + own, told + [number % 2 == 1] * len(own)
        labels = [one if said else -100 for one, said in zip(ids, told, strict=True)]
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss.item()
        assert found[row] == pytest.approx(expected, rel=1e-5)
    assert found[2] == 0  # a plain text has no instruction to leave out, and so no ifd


def test_of_a_truncated_row_the_same_tokens_of_the_response_are_read(base):
    whole = rendered_by(examples(talk=TALK), str(base))
    columns = {name: whole.column(name) for name in TOKENS.names}
    for values in columns.values():
        values[0] = values[0][:-6]
    told = sum(columns["assistant_mask"][0])
    assert 0 < told < sum(whole.column("assistant_mask")[0])
    table = whole.table.drop_columns(TOKENS.names)
    for name, values in columns.items():
        table = table.append_column(TOKENS.field(name), pa.array(values, TOKENS.field(name).type))
    bare = without_instruction(Examples(table), str(base))
    assert bare.token_counts()[1].tolist() == [told, *whole.token_counts()[1][1:].tolist()]
    said = [
        [
            one
            for one, mask in zip(rows.column("input_ids")[0], rows.column("assistant_mask")[0], strict=True)
            if mask
        ]
        for rows in (bare, Examples(table))
    ]
    assert said[0] == said[1]
