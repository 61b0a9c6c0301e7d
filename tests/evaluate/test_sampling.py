"""Rollouts of rendered rows: what is asked, that batches are kept, and that nothing but the row decides."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from dtm.evaluate.sampling import sample
from dtm.foundations.chat import Renderer
from dtm.foundations.errors import DataError
from dtm.foundations.types import SCHEMA, TOKENS, Examples, canonical_id


def write(model, path, rows):
    """Rows (source, turns) rendered into an Arrow file."""
    renderer, columns = Renderer(AutoTokenizer.from_pretrained(model), max_length=None), []
    for source, turns in rows:
        messages = [{"role": role, "content": text} for role, text in turns]
        rendered, key = renderer(messages), canonical_id(messages)
        columns.append({"id": key, "source": source, "messages": messages, "parent": None, "family": key, "meta": "{}",
                        "input_ids": rendered.input_ids, "assistant_mask": rendered.assistant_mask})  # fmt: skip
    Examples(pa.Table.from_pylist(columns, pa.schema([*SCHEMA, *TOKENS]))).save(path)


ROWS = [
    *(("sums", [("user", f"What is {n} and {n}?"), ("assistant", f"{n + n}.")]) for n in range(7)),
    ("sums", [("user", "What is 3 and 3?"), ("assistant", "6, again.")]),
    (
        "talk",
        [
            ("system", "Be brief."),
            ("user", "Hello"),
            ("assistant", "Hi."),
            ("user", "And?"),
            ("assistant", "No."),
        ],
    ),
    ("talk", [("text", "A document.")]),
]


@pytest.fixture
def job(model, tmp_path):
    write(model, tmp_path / "rows.arrow", ROWS)

    def made(name="one", **more):
        for part in ("output", "scratch"):
            (tmp_path / name / part).mkdir(parents=True, exist_ok=True)
        return {
            "name": "m", "model": str(model), "adapter": None, "dtype": "float32", "options": {}, "device": "cpu",
            "threads": 1, "examples": str(tmp_path / "rows.arrow"), "output": str(tmp_path / name / "output"),
            "scratch": str(tmp_path / name / "scratch"), "sources": None, "limit": None, "direct": None, "copies": 3,
            "temperature": 1.5, "top_p": 1.0, "top_k": 0, "most": 12, "batch_size": 3, "seed": 5, **more,
        }  # fmt: skip

    return made


def read(job, name):
    return pa.ipc.open_file(str(Path(job["output"]) / f"{name}.arrow")).read_all().to_pylist()


def test_what_is_asked_and_what_is_told(job, model):
    one = job()
    facts = sample(one)
    questions, rollouts = read(one, "questions"), read(one, "rollouts")
    assert facts["questions"] == len(questions) == 8
    assert (facts["repeated"], facts["no_question"], facts["too_long"]) == (1, 1, 0)
    assert facts["rows"] == len(rollouts) == 24
    assert [one["question"] for one in rollouts] == [n for n in range(8) for _ in range(3)]
    tokenizer = AutoTokenizer.from_pretrained(model)
    last = questions[-1]
    assert [turn["content"] for turn in last["prompt"]] == ["Be brief.", "Hello", "Hi.", "And?"]
    assert tokenizer.decode(last["prompt_ids"]).endswith("And?<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(last["gold_ids"]) == "No.<|im_end|>"
    assert facts["tokens"] == sum(len(one["ids"]) for one in rollouts)
    for rollout in rollouts:
        assert rollout["finished"] == (rollout["ids"][-1] == tokenizer.eos_token_id)
        assert rollout["finished"] or len(rollout["ids"]) == 12
    assert len({tuple(one["ids"]) for one in rollouts}) == 24


def test_a_row_is_answered_the_same_in_other_batches_and_with_fewer_others(job):
    first, second = job(), job("two", batch_size=2, sources=["talk"])
    sample(first)
    sample(second)
    assert read(first, "rollouts")[-3:] == [{**one, "question": 7} for one in read(second, "rollouts")]
    third = job("three", limit=4)
    sample(third)
    kept = [row["id"] for row in read(third, "questions")]
    assert len(kept) == 4
    assert kept == [row["id"] for row in read(first, "questions") if row["id"] in kept]


def test_batches_that_stand_in_scratch_are_not_drawn_again(job):
    one, again = job(), job("again")
    sample(one)
    kept = Path(again["scratch"]) / "batch-0.json"
    told = json.loads((Path(one["scratch"]) / "batch-0.json").read_text())
    told[0]["text"] = "from scratch"
    kept.write_text(json.dumps(told))
    sample(again)
    texts = [[row["text"] for row in read(job, "rollouts")] for job in (one, again)]
    different = [pair for pair in zip(*texts, strict=True) if pair[0] != pair[1]]
    assert [after for _, after in different] == ["from scratch"]
    kept.write_text('[{"text": "cut sho')  # a half-written file is no file
    sample(again)
    assert read(again, "rollouts") == read(one, "rollouts")


def test_direct_answers_are_asked_for_besides(job, model):
    one = job(direct="Say only the answer.")
    sample(one)
    rollouts = read(one, "rollouts")
    assert [row["kind"] for row in rollouts[:6]] == ["path"] * 3 + ["direct"] * 3
    plain = job("plain")
    sample(plain)
    assert [row for row in rollouts if row["kind"] == "path"] == read(plain, "rollouts")


def test_rows_without_a_question_are_an_error(job):
    with pytest.raises(DataError, match="no row has a question"):
        sample(job(sources=["none"]))
