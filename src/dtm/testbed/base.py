"""The small Llama that comes with the package and knows the testbed's world.

Its weights lie in half precision in `weights/` and are written in single precision, so that training and
merging round nowhere. `weights/base.json` says how it was made (`dtm.testbed.pretrain`) and what it holds.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

WEIGHTS = files("dtm.testbed") / "weights"
FACTS = "base.json"


@cache
def base_files() -> dict[str, bytes]:
    """Every file of the base's folder by name: a transformers checkpoint in float32, its tokenizer, its facts."""
    found = {path.name: path.read_bytes() for path in WEIGHTS.iterdir() if path.is_file()}
    found["model.safetensors"] = single_precision(found["model.safetensors"])
    return found


def base_facts() -> dict[str, Any]:
    """How the base was made, what that took, and what it holds, by attribute."""
    return json.loads((WEIGHTS / FACTS).read_text(encoding="utf-8"))


def half_precision(weights: bytes) -> bytes:
    """The same safetensors file with every tensor in float16."""
    return _as(weights, "float16")


def single_precision(weights: bytes) -> bytes:
    """The same safetensors file with every tensor in float32."""
    return _as(weights, "float32")


def _as(weights: bytes, dtype: str) -> bytes:
    from safetensors.numpy import load, save

    tensors = {name: value.astype(dtype) for name, value in load(weights).items()}
    return save(tensors, metadata={"format": "pt"})
