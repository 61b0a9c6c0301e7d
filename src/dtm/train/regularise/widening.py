"""The precision that penalties are computed in."""

from __future__ import annotations

from typing import Any


def wide(values: Any) -> Any:
    """The tensor in fp32, or in its own precision where that is higher."""
    import torch

    return values.to(torch.promote_types(values.dtype, torch.float32))
