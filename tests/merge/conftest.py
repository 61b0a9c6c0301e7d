"""Random tensors under a model's names, and merging by a method's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dtm.foundations.registry import registry
from dtm.merge import merge_models
from tests.merge.models import read_model


@pytest.fixture
def tensors() -> Callable[..., dict[str, torch.Tensor]]:
    """Random tensors under a model's names, of odd and even sizes."""

    def make(seed: int, dtype: torch.dtype = torch.bfloat16, scale: float = 1.0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        shapes = {
            "model.embed_tokens.weight": (37, 24), "model.layers.0.mlp.up_proj.weight": (65, 24),
            "model.layers.1.mlp.up_proj.weight": (65, 24), "model.layers.1.mlp.experts": (3, 8, 5),
            "model.layers.0.norm.weight": (24,), "model.layers.1.bias": (1,), "model.norm.weight": (24,),
            "lm_head.weight": (37, 24), "model.scalar": (),
        }  # fmt: skip
        return {
            name: (torch.randn(shape, generator=generator) * scale).to(dtype)
            for name, shape in shapes.items()
        }

    return make


@pytest.fixture
def merged(tmp_path: Path) -> Callable[..., dict[str, torch.Tensor]]:
    """Merge by a method's name and settings, and read the result."""
    number = iter(range(1000))

    def run(
        method: str = "linear", *, settings: dict[str, Any] | None = None, **arguments: Any
    ) -> dict[str, torch.Tensor]:
        output = tmp_path / f"merged-{next(number)}"
        arguments.setdefault("weights", [1.0] * len(arguments["models"]))
        arguments.setdefault("base", None)
        merge_models(output=output, method=registry("merge").bind(method, settings or {}), **arguments)
        return read_model(output)

    return run
