"""What the harness says of a tiny model, against log likelihoods that we sum in fp64 by hand."""

from __future__ import annotations

import json
import math

import pytest

from dtm.evaluate import evaluate, resolve
from tests.tiny import tiny_model

ROWS = [
    {"query": "Question: What do bees make?", "choices": ["honey", "milk and cream", "wool"], "gold": 0},
    {
        "query": "Question: Where do fish live?\n",
        "choices": ["in the water", "in a nest", "on ice"],
        "gold": 0,
    },
    {"query": "The sun is", "choices": ["cold", "a star that shines"], "gold": 1},
    {"query": "Question: What is 1 + 1?\nAnswer:", "choices": ["2", "3", "11", "4"], "gold": 0},
    {"query": "Cats and the", "choices": ["dogs", "then"], "gold": 0},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"), seed=1)


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run(model, rows, tmp_path, output="out", chat=False, batch_size=3, **entry):
    (task,) = resolve([{"path": write_rows(tmp_path / "task.jsonl", rows), **entry}], tmp_path)
    job = {
        "model": str(model),
        "adapter": None,
        "task": json.loads(json.dumps(task.spec)),
        "output": str(tmp_path / output),
        "chat": chat,
        "batch_size": batch_size,
        "dtype": "float32",
        "threads": 1,
    }
    facts = evaluate(job)
    items = [json.loads(line) for line in (tmp_path / output / "items.jsonl").read_text().splitlines()]
    return facts, items


def reference(folder, context, continuation):
    """Sum of fp64 log probabilities of the continuation's tokens, one sequence at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    ids = torch.tensor([tokenizer(context + continuation, add_special_tokens=False)["input_ids"]])
    start = len(tokenizer(context, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        logs = model(ids).logits[0, :-1].log_softmax(-1)
    return float(logs.gather(1, ids[0, 1:, None])[start - 1 :].sum())


def test_multiple_choice_is_what_fp64_log_likelihoods_say(model, tmp_path):
    facts, items = run(model, ROWS, tmp_path)
    prompts = [
        "Question: What do bees make?\nAnswer:",
        "Question: Where do fish live?\nAnswer:",
        "The sun is",
        "Question: What is 1 + 1?\nAnswer:",
        "Cats and the",
    ]
    right = right_norm = 0
    for row, prompt, item in zip(ROWS, prompts, items, strict=True):
        logs = [reference(model, prompt, " " + choice) for choice in row["choices"]]
        assert item["loglikelihoods"] == pytest.approx(logs, rel=1e-5)
        right += logs.index(max(logs)) == row["gold"]
        normed = [log / len(choice) for log, choice in zip(logs, row["choices"], strict=True)]
        right_norm += normed.index(max(normed)) == row["gold"]
    assert facts["scores"]["acc"] == {"value": right / 5, "n": 5}
    assert facts["scores"]["acc_norm"] == {"value": right_norm / 5, "n": 5}
    assert facts["chance"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 2 + 1 / 4 + 1 / 2) / 5)
    assert [item["doc_id"] for item in items] == [0, 1, 2, 3, 4]
    assert math.isclose(facts["n"], 5)
