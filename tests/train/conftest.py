"""A tiny base, twelve rendered rows, and a training job over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dtm.foundations.chat import Renderer
from dtm.foundations.types import SCHEMA, TOKENS, Examples, canonical_id
from tests.tiny import tiny_model

ROWS = [(f"What is {n} plus {n}?", f"It is {2 * n}, of course{'!' * (n % 4)}") for n in range(12)]


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    return Path(tiny_model(tmp_path_factory.mktemp("base") / "model", seed=2))


@pytest.fixture(scope="session")
def examples(base, tmp_path_factory) -> Path:
    from transformers import AutoTokenizer

    renderer = Renderer(AutoTokenizer.from_pretrained(base), max_length=None)
    columns: dict[str, list[Any]] = {name: [] for name in [*SCHEMA.names, *TOKENS.names]}
    for question, answer in ROWS:
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        rendered, key = renderer(messages), canonical_id(messages)
        row = {"id": key, "source": "sums", "messages": messages, "parent": None, "family": key, "meta": "{}",
               "input_ids": rendered.input_ids, "assistant_mask": rendered.assistant_mask}  # fmt: skip
        for name, value in row.items():
            columns[name].append(value)
    path = tmp_path_factory.mktemp("examples") / "train.arrow"
    Examples(pa.table(columns, schema=pa.schema([*SCHEMA, *TOKENS]))).save(path)
    return path


@pytest.fixture
def job(base, examples, tmp_path) -> dict[str, Any]:
    """One epoch in batches of four, LoRA on all linear layers; tests change what they are about."""
    for name in ("output", "scratch"):
        (tmp_path / name).mkdir()
    return {
        "name": "submodel-0", "base": str(base), "base_name": "owner/base", "examples": str(examples),
        "output": str(tmp_path / "output"), "scratch": str(tmp_path / "scratch"),
        "args": {"learning_rate": 1e-3, "num_train_epochs": 1, "per_device_train_batch_size": 4, "max_length": 256,
                 "gradient_checkpointing": False},
        "lora": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}, "model": {"dtype": "float32"},
        "seed": 1, "adapter_seed": 2, "threads": 1, "device": "cpu", "total_steps": 3,
    }  # fmt: skip
