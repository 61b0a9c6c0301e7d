"""Held-out loss against one row at a time in fp64."""

from __future__ import annotations

import json
import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.evaluate.heldout import batches, response_loss, summarise
from dtm.foundations.errors import DataError, ModelError
from dtm.foundations.types import SCHEMA, TOKENS, Examples
from tests.tiny import tiny_model

ROWS = [  # source, text, where the response starts in tokens (None: everything carries loss)
    ("short", "Hi there", 3),
    ("short", "The sea and the star " * 6, 10),
    ("long", "A horse can run in the snow and the rain " * 4, 90),
    ("long", "So", None),
    ("short", "Cats and dogs and bees and the moon", 8),
    ("mute", "x", None),
]


def rendered(reference, rows=ROWS):
    """An Examples table of rows with tokens and masks."""
    columns = {name: [] for name in (*SCHEMA.names, *TOKENS.names)}
    for number, (source, text, start) in enumerate(rows):
        ids = reference.encode(text)
        values = {"id": f"row{number}", "source": source, "messages": [], "parent": None, "family": f"row{number}",
                  "meta": "{}", "input_ids": ids,
                  "assistant_mask": [start is None or place >= start for place in range(len(ids))]}  # fmt: skip
        for name, value in values.items():
            columns[name].append(value)
    return Examples(pa.table(columns, schema=pa.schema([*SCHEMA, *TOKENS])))


def measure(model, examples, tmp_path, output="out", **job):
    examples.save(tmp_path / "examples.arrow")
    facts = response_loss({"model": str(model), "adapter": None, "examples": str(tmp_path / "examples.arrow"),
                           "output": str(tmp_path / output), "dtype": "float32", **job})  # fmt: skip
    return facts["sources"], (tmp_path / output / "items.jsonl").read_bytes()


def test_loss_is_the_fp64_mean_over_response_tokens(model, reference, tmp_path):
    examples = rendered(reference)
    sources, written = measure(model, examples, tmp_path)
    items = [json.loads(line) for line in written.splitlines()]
    assert [item["id"] for item in items] == [f"row{number}" for number in range(6)]
    expected = []
    for row, item in zip(examples.rows(), items, strict=True):
        ids, said = row["input_ids"], row["assistant_mask"]
        logs = reference.logs(ids)
        losses = [-float(logs[place - 1, ids[place]]) for place in range(1, len(ids)) if said[place]]
        expected.append((sum(losses), len(losses)))
        assert item["loss_sum"] == pytest.approx(sum(losses), rel=1e-5)
        assert item["tokens"] == len(losses)
    assert expected[5] == (0, 0)  # a single token is never predicted
    for source, numbers in (("all", range(6)), ("short", (0, 1, 4)), ("long", (2, 3))):
        loss, tokens = (sum(expected[number][part] for number in numbers) for part in (0, 1))
        assert sources[source]["loss"] == pytest.approx(loss / tokens, rel=1e-5)
        assert (sources[source]["tokens"], sources[source]["rows"]) == (tokens, len(numbers))
        assert sources[source]["low"] <= sources[source]["loss"] <= sources[source]["high"]
    assert "mute" not in sources


def test_batches_change_nothing_but_rounding_and_reruns_not_even_that(model, reference, tmp_path):
    examples = rendered(reference)
    whole, first = measure(model, examples, tmp_path)
    alone, _ = measure(model, examples, tmp_path, "alone", batch_tokens=1)
    _, again = measure(model, examples, tmp_path, "again")
    assert first == again
    for source in whole:
        assert alone[source]["loss"] == pytest.approx(whole[source]["loss"], rel=1e-6)


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 500))
def test_batches_hold_every_row_once_and_keep_to_their_size(lengths, size):
    made = list(batches(lengths, size))
    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= size


def test_a_source_called_all_does_not_hide_the_total():
    items = [{"id": "a", "source": "all", "loss_sum": 1.0, "tokens": 1},
             {"id": "b", "source": "b", "loss_sum": 6.0, "tokens": 2}]  # fmt: skip
    assert summarise(items)["all"]["loss"] == pytest.approx(7 / 3)
    assert summarise(items)["b"] == {"loss": 3.0, "low": 3.0, "high": 3.0, "tokens": 2, "rows": 1}


def test_rows_that_cannot_be_measured(model, reference, tmp_path):
    examples = rendered(reference)
    with pytest.raises(DataError, match="no rendered row"):
        measure(model, examples.take([]), tmp_path)
    with pytest.raises(DataError, match="no rendered row"):
        measure(model, Examples(examples.table.select(SCHEMA.names)), tmp_path)
    short = tiny_model(tmp_path / "short", max_length=16)
    with pytest.raises(DataError, match="positions end at 16"):
        measure(short, examples, tmp_path)


def test_a_broken_model_has_no_loss(model, reference, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    broken = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        broken.model.norm.weight[0] = math.inf
    broken.save_pretrained(tmp_path / "broken")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "broken")
    with pytest.raises(ModelError, match="not finite"):
        measure(tmp_path / "broken", rendered(reference), tmp_path)


def test_progress_counts_rows(model, reference, tmp_path):
    examples, told = rendered(reference), []
    examples.save(tmp_path / "examples.arrow")
    job = {
        "model": str(model),
        "adapter": None,
        "examples": str(tmp_path / "examples.arrow"),
        "output": str(tmp_path),
    }
    response_loss(job, told.append)
    assert told[-1] == {"done": 6, "total": 6}
