"""Made-up inspections, searches and attributions of any size, as the merge step and `dtm attribute` give them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np


def measures(rng: np.random.Generator, k: int) -> dict[str, Any]:
    """What `dtm.merge.inspection.summary` gives of one block."""
    updates = rng.normal(size=(k, 50)) * (1 + np.arange(k))[:, None]
    merged = updates.mean(axis=0)
    norms = np.linalg.norm(updates, axis=1)
    toward = updates @ merged
    return {
        "norms": norms.tolist(), "merged_norm": float(np.linalg.norm(merged)),
        "cosines": (updates @ updates.T / np.outer(norms, norms)).tolist(), "sign_conflict": float(rng.random()),
        "shares": (toward / toward.sum()).tolist(), "values": 50,
    }  # fmt: skip


def inspection(k: int = 4, layers: int = 6, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    names = [*(str(number) for number in range(layers)), "outside"]
    return {
        "models": [f"submodel-{number}" for number in range(k)], "overall": measures(rng, k),
        "layers": {name: measures(rng, k) for name in names},
        "tensors": {f"model.layers.{name}.weight": measures(rng, k) for name in names},
    }  # fmt: skip


def search(k: int = 4, candidates: int = 12, seed: int = 0) -> dict[str, Any]:
    rng = random.Random(seed)
    entries = []
    for number in range(candidates):
        weights = [rng.random() for _ in range(k)]
        score = None if number == 3 else -1.5 + 0.05 * number * rng.random()
        entries.append({"weights": [weight / sum(weights) for weight in weights], "score": score,
                        **({"why": "not finite"} if score is None else {"loss": -score})})  # fmt: skip
    best = max((entry for entry in entries if entry["score"] is not None), key=lambda entry: entry["score"])
    return {"search": "cma_es", "budget": 40, "candidates": candidates, "on": ["held-out loss"], "path": entries,
            "weights": best["weights"], "score": best["score"], "uniform": entries[0]["score"]}  # fmt: skip


def attribution(k: int = 4, seed: int = 0) -> dict[str, Any]:
    rng = random.Random(seed)

    def row(portion: int, **more: Any) -> dict[str, Any]:
        difference, half = rng.uniform(-0.1, 0.1), rng.uniform(0.02, 0.08)
        low, high = difference - half, difference + half
        verdict = "helps" if low > 0 else "costs" if high < 0 else "not told apart"
        return {"portion": portion, "all": 0.6, "without": 0.6 - difference, "difference": difference, "low": low,
                "high": high, "n": 200, "verdict": verdict, **more}  # fmt: skip

    return {
        "format": 1, "merged": "0" * 64, "note": "difference = all portions - without this one.",
        "weights": [1 / k] * k,
        "portions": [{"portion": number, "rows": 100, "trained_tokens": 2000} for number in range(k)],
        "tasks": [row(number, task=task, format="raw", metric="acc", p=0.2, p_holm=0.4)
                  for task in ("facts_choice", "arithmetic") for number in range(k)],
        "heldout": [row(number, source=source) for source in ("all", "dolly") for number in range(k)],
    }  # fmt: skip
