"""One tiny model, and running a task on it as a worker does: through JSON."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dtm.evaluate import evaluate, resolve
from tests.tiny import tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"), seed=1)


@pytest.fixture
def write(tmp_path):
    """Write rows as JSON Lines and return the path as text."""

    def write_rows(rows, name="task.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    return write_rows


@pytest.fixture
def run(model, write, tmp_path):
    """Evaluate rows; returns facts, items, and the bytes of both files."""

    def run_rows(rows, *, output="out", progress=None, entry=None, **job):
        (task,) = resolve([{"path": write(rows), **(entry or {})}], tmp_path)
        folder = tmp_path / output
        standard = {"model": str(model), "adapter": None, "dtype": "float32", "batch_size": 3, "threads": 1}
        standard |= {"task": task.spec, "output": str(folder)}
        facts = evaluate(json.loads(json.dumps({**standard, **job})), progress)
        files = [(folder / name).read_bytes() for name in ("items.jsonl", "scores.json")]
        items = [json.loads(line) for line in files[0].splitlines()]
        return SimpleNamespace(facts=facts, items=items, files=files, scores=json.loads(files[1]))

    return run_rows


class Reference:
    """The model in fp64, one sequence at a time: what every figure is checked against."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)

    def logs(self, ids):
        """Log probabilities [T, V] of the next token behind each."""
        import torch

        with torch.no_grad():
            return self.model(torch.tensor([ids])).logits[0].log_softmax(-1)

    def encode(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def score(self, context, continuation):
        """Log likelihood of a continuation, and whether it is the greedy one."""
        before, ids = len(self.encode(context)), self.encode(context + continuation)
        logs = self.logs(ids[:-1])[before - 1 :]
        picked = [float(row[token]) for row, token in zip(logs, ids[before:], strict=True)]
        return sum(picked), logs.argmax(-1).tolist() == ids[before:]

    def answer(self, prompt, tokens):
        """The greedy text of so many tokens, as long as it does not stop."""
        ids = self.encode(prompt)
        start = len(ids)
        while len(ids) - start < tokens:
            ids.append(int(self.logs(ids)[-1].argmax()))
            if ids[-1] == self.tokenizer.eos_token_id:
                break
        return self.tokenizer.decode(ids[start:], skip_special_tokens=True)


@pytest.fixture(scope="session")
def reference(model) -> Reference:
    return Reference(model)
