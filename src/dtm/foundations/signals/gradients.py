"""Gradients of the response loss at the start of training, sketched: of each row, or of each group of rows.

The gradient is over the weights that training will change: all of them, or with LoRA the adapter's, whose A is
drawn as for training and whose B is zero. There A has no gradient, and that of B is the informative half.
Calibration by few rows a source: Choi and Kim 2026, MERIT, arXiv:2606.01717 (n = 200).

A job holds besides `base`'s keys: lora (LoraConfig's settings or None), adapter_seed, dimensions, seed; and for
groups rows (how many to draw of each) and groups (a .npy file, int [N], or None: a group is a source).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dtm.foundations.batches import Batch, batches, padded
from dtm.foundations.seeds import derive
from dtm.foundations.signals.base import Job, Progress, fill, open_base, open_rows
from dtm.foundations.signals.sketch import sketch
from dtm.foundations.types import Examples

GRADIENT_TOKENS = 1024  # padded positions a batch: activations are kept for the way back


def row_gradients(job: Job, progress: Progress) -> dict[str, Any]:
    """Write `gradient.npy`: float32 [N, D], the sketched gradient of each row's mean loss a response token.

    Zero for a row without such a token. Returns {rows, dimensions}.
    """
    model, weights = open_trainable(job)
    examples, lengths_N = open_rows(job, model)

    def work(index: Sequence[int]) -> dict[str, np.ndarray]:
        gradients = _gradient(model, weights, examples.take(index), [[0]])
        return {"gradient": sketch(gradients, job["dimensions"], job["seed"])[None].astype(np.float32)}

    arrays = {"gradient": ((len(examples), job["dimensions"]), np.float32)}
    fill(job, arrays, list(batches(lengths_N, 1)), work, progress)
    return {"rows": len(examples), "dimensions": job["dimensions"]}


def group_gradients(job: Job, progress: Progress) -> dict[str, Any]:
    """Write `gradients.npy`: float32 [S, D], the sketched gradient of each group's mean loss a response token.

    It is taken over at most `rows` rows of the group, drawn without replacement by seed and the group's name.
    `groups.npy`, int64 [N], is the group of every row: sources are numbered by name. Returns {rows, groups,
    dimensions}, `rows` being those that were read.
    """
    model, weights = open_trainable(job)
    examples, lengths_N = open_rows(job, model)
    names, groups_N = groups_of(job, examples)
    drawn = [_draw(groups_N == group, job["rows"], job["seed"], name) for group, name in enumerate(names)]

    def work(group: Sequence[int]) -> dict[str, np.ndarray]:
        chosen = drawn[group[0]]
        inside = list(batches(lengths_N[chosen], job.get("batch_tokens") or GRADIENT_TOKENS))
        gradients = _gradient(model, weights, examples.take(chosen), inside)
        return {"gradients": sketch(gradients, job["dimensions"], job["seed"])[None].astype(np.float32)}

    arrays = {"gradients": ((len(names), job["dimensions"]), np.float32)}
    fill(job, arrays, [[group] for group in range(len(names))], work, progress)
    np.save(Path(job["output"]) / "groups.npy", groups_N.astype(np.int64))
    return {"rows": sum(map(len, drawn)), "groups": len(names), "dimensions": job["dimensions"]}


def open_trainable(job: Job) -> tuple[Any, dict[str, Any]]:
    """The base as training starts from it, in fp32 and eval mode, and the weights to take gradients of, by name."""
    model = open_base(job)
    if job["lora"] is None:
        model.requires_grad_(True)
    else:
        from peft import get_peft_model
        from transformers import set_seed

        from dtm.foundations.adapters import lora_config

        set_seed(job["adapter_seed"])
        model = get_peft_model(model, lora_config(job["lora"])).eval()
        for name, parameter in model.named_parameters():
            if ".lora_A." in name:  # zero where B is
                parameter.requires_grad_(False)
    return model, {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def groups_of(job: Job, examples: Examples) -> tuple[list[str], np.ndarray]:
    """The groups' names, and the group of each row, int64 [N]."""
    if job.get("groups"):
        groups_N = np.load(job["groups"])
        return [str(group) for group in range(int(groups_N.max()) + 1)], groups_N
    names, groups_N = np.unique(np.asarray(examples.column("source"), dtype=str), return_inverse=True)
    return names.tolist(), groups_N.astype(np.int64)


def _draw(member_N: np.ndarray, count: int, seed: int, name: str) -> np.ndarray:
    """Rows of a group, at most `count`, in order."""
    members = np.flatnonzero(member_N)
    if len(members) <= count:
        return members
    generator = np.random.default_rng(derive(seed, "calibration", name))
    return np.sort(generator.choice(members, count, replace=False))


def _gradient(
    model: Any, weights: Mapping[str, Any], examples: Examples, inside: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """The gradient of the mean loss over all response tokens of the rows, by weight; None where it is zero.

    `inside` are the batches of the rows.
    """
    import torch

    for weight in weights.values():
        weight.grad = None
    tokens = 0
    for indices in inside:
        batch = padded(examples.take(indices), model.device)
        count = int(batch.told_NT.sum())
        if count:
            _summed_loss(model, batch).backward()
            tokens += count
    if tokens:
        with torch.no_grad():
            for weight in weights.values():
                if weight.grad is not None:
                    weight.grad /= tokens
    return {name: weight.grad for name, weight in weights.items()}


def _summed_loss(model: Any, batch: Batch) -> Any:
    """The negative log likelihood of all response tokens of a batch."""
    from torch.nn.functional import cross_entropy

    logits_NTV = model(**batch.inputs).logits[:, :-1]
    told_NT = batch.told_NT
    return cross_entropy(logits_NTV[told_NT].float(), batch.ids_NT[:, 1:][told_NT], reduction="sum")
