"""What a merge did, measured in the pass that does it: how the updates lie to one another and to the result.

For each tensor, each layer and the whole model:

    norms            [K]     |tau_k|, and `merged_norm` |tau|
    cosines          [K, K]  between the updates
    sign_conflict            share of values that two updates would move in opposite directions
    shares           [K]     <tau_k, tau> / sum_j <tau_j, tau>: what each sub-model gets into the result

An update is the sub-model less the base, or without a base, less the sub-models' mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import fsum, sqrt
from typing import Any

import numpy as np

from dtm.merge.arithmetic import Block, gram
from dtm.merge.scalars import layer_of


def measure(updates_K: Block, merged: Block) -> dict[str, Any]:
    """Sums over one block: the Gram matrix [K + 1, K + 1] of updates and result, and counts; they add."""
    conflict = (updates_K > 0).any(axis=0) & (updates_K < 0).any(axis=0)
    return {"gram": gram(np.concatenate([updates_K, merged[None]])), "conflicts": int(conflict.sum()),
            "values": merged.size}  # fmt: skip


def summary(total: Mapping[str, Any]) -> dict[str, Any]:
    """The measures from summed blocks, as plain numbers."""
    products = total["gram"]
    norms = np.sqrt(np.maximum(np.diag(products), 0))
    lengths = np.outer(norms, norms)
    cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    toward = products[:-1, -1]
    whole = toward.sum()
    return {
        "norms": _plain(norms[:-1]), "merged_norm": _plain(norms[-1:])[0],
        "cosines": [_plain(row) for row in cosines[:-1, :-1]],
        "sign_conflict": round(total["conflicts"] / max(total["values"], 1), 6),
        "shares": _plain(toward / whole) if abs(whole) > 0 else None, "values": total["values"],
    }  # fmt: skip


def report(tensors: Mapping[str, Mapping[str, Any]], models: Iterable[str]) -> dict[str, Any]:
    """`overall`, `layers` and `tensors` from the sums of each tensor."""
    layers: dict[str, dict[str, Any]] = {}
    overall: dict[str, Any] = {}
    for name, total in tensors.items():
        layer = layer_of(name)
        add(layers.setdefault("outside" if layer is None else str(layer), {}), total)
        add(overall, total)
    return {
        "models": list(models),
        "overall": summary(overall) if overall else None,
        "layers": {layer: summary(total) for layer, total in layers.items()},
        "tensors": {name: summary(total) for name, total in tensors.items()},
    }


def low_rank(missed: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """How far the merged factors are from the adapters' exact weighted sum: |difference| / |sum|, in Frobenius norm.

    `missed` holds both squared, by tensor. `relative_error` is over all tensors, `worst` the tensor with the largest.
    """
    errors = {name: sqrt(error / whole) if whole > 0 else 0.0 for name, (error, whole) in missed.items()}
    worst = max(sorted(errors), key=lambda name: errors[name])
    wholes = fsum(whole for _, whole in missed.values())
    overall = sqrt(fsum(error for error, _ in missed.values()) / wholes) if wholes > 0 else 0.0
    return {
        "relative_error": _plain([overall])[0],
        "worst": {"tensor": worst, "relative_error": _plain([errors[worst]])[0]},
    }


def add(total: dict[str, Any], partial: Mapping[str, Any]) -> None:
    """Add a block's sums to a total, in place: arrays and numbers sum, lists join."""
    for key, value in partial.items():
        if key in total:
            total[key] += value
        else:
            total[key] = value.copy() if isinstance(value, np.ndarray | list) else value


def as_json(total: Mapping[str, Any]) -> dict[str, Any]:
    """Sums of blocks as plain values, to the last bit."""
    return {**total, "gram": total["gram"].tolist()}


def from_json(total: Mapping[str, Any]) -> dict[str, Any]:
    return {**total, "gram": np.array(total["gram"])}


def _plain(values: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
