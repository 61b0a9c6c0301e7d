"""Sub-models of a tiny base made in seconds: one that learnt some rows, one that noise made worse."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import torch

from dtm.foundations.types import SCHEMA, TOKENS, Examples

TEXTS = ["the cat and the dog", "a bird in the sun", "the dog and a bird", "the sun and the cat"]


def rows_file(path: Path) -> Path:
    """Rendered rows of TEXTS, every byte but the first in the loss."""
    ids = [[byte % 250 + 3 for byte in text.encode()] for text in TEXTS]
    plain = {"id": TEXTS, "source": ["s"] * len(ids), "messages": [[]] * len(ids), "parent": [None] * len(ids),
             "family": TEXTS, "meta": [None] * len(ids)}  # fmt: skip
    table = pa.table(plain, schema=SCHEMA)
    masks = [[False, *[True] * (len(row) - 1)] for row in ids]
    for name, values in zip(TOKENS.names, (ids, masks), strict=True):
        table = table.append_column(TOKENS.field(name), pa.array(values, TOKENS.field(name).type))
    Examples(table).save(path)
    return path


def trained(base: Path, rows: Path, folder: Path, *, lora: bool = False, steps: int = 15) -> Path:
    """A few steps of Adam on the rows."""
    model = _model(base, lora)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=1e-2)
    batch = [torch.tensor([row["input_ids"]]) for row in Examples.open(rows).rows()]
    for _ in range(steps):
        optimizer.zero_grad()
        sum(model(input_ids=ids, labels=ids).loss for ids in batch).backward()
        optimizer.step()
    model.save_pretrained(folder)
    return folder


def worsened(base: Path, folder: Path, *, lora: bool = False) -> Path:
    """Noise on every weight that could be trained, as large as the weights."""
    model = _model(base, lora)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.3 * torch.randn(weight.shape, generator=generator)
    model.save_pretrained(folder)
    return folder


def _model(base: Path, lora: bool):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    if lora:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    return model
