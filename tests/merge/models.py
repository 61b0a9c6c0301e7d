"""Small models on disk, written and read by the reference implementation of safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def write_model(folder: Path, tensors: Mapping[str, torch.Tensor], shards: int = 1, **config: Any) -> Path:
    """A checkpoint folder of these tensors in that many files."""
    folder.mkdir(parents=True)
    names = sorted(tensors)
    parts = [names[number::shards] for number in range(shards)]
    files = (
        ["model.safetensors"]
        if shards == 1
        else [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    )
    for part, file in zip(parts, files, strict=True):
        save_file({name: tensors[name].contiguous() for name in part}, folder / file, {"format": "pt"})
    if shards > 1:
        places = {name: file for part, file in zip(parts, files, strict=True) for name in part}
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": places})
        )
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    return folder


def read_model(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, read by the reference implementation of the format."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return found


def within_one_rounding(got: torch.Tensor, exact: torch.Tensor, slack: float = 1e-14) -> bool:
    """Whether every value is as near to the fp64 reference as its type allows.

    Half a unit in the last place, and on top fp32's own rounding, which comes before that of a narrower type;
    `slack` is the absolute error that sums inside may bring, fp64's own by default.
    """
    info = torch.finfo(got.dtype)
    magnitude = exact.abs().clamp(min=info.tiny)
    half_unit = torch.exp2(torch.floor(torch.log2(magnitude))) * info.eps / 2
    allowed = half_unit * (1 + 2.0**-8) + magnitude * 2.0**-23 + slack
    return bool(((got.double() - exact).abs() <= allowed).all())


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def numpy64(tensor: torch.Tensor) -> np.ndarray:
    return tensor.double().numpy()
