"""Rendered rows of random tokens in a file, and the jobs that read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from dtm.foundations.types import SCHEMA, TOKENS, Examples


def random_rows(count: int = 12, seed: int = 0) -> list[tuple[list[int], list[bool]]]:
    """(ids, mask) of 2 to 40 tokens, the response being the last third or so; one row without a response."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        length = int(generator.integers(2, 40))
        start = 1 + length * 2 // 3 if number != 3 else length
        ids = generator.integers(3, 250, length).tolist()
        rows.append((ids, [place >= min(start, length - (number != 3)) for place in range(length)]))
    return rows


def save_rows(path: Path, rows, sources=None) -> Path:
    """The rows as a rendered Arrow file."""
    count = len(rows)
    plain = {"id": [str(n) for n in range(count)], "source": sources or ["s"] * count, "messages": [[]] * count,
             "parent": [None] * count, "family": [str(n) for n in range(count)], "meta": [None] * count}  # fmt: skip
    table = pa.table(plain, schema=SCHEMA)
    for name, column in zip(TOKENS.names, zip(*rows, strict=True), strict=True):
        table = table.append_column(TOKENS.field(name), pa.array(list(column), TOKENS.field(name).type))
    Examples(table).save(path)
    return path


def job_of(model: Path, examples: Path, folder: Path, **more):
    """A job with a fresh output and scratch in `folder`."""
    for name in ("output", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return {"model": str(model), "examples": str(examples), "output": str(folder / "output"), "options": {},
            "scratch": str(folder / "scratch"), "device": "cpu", "threads": 1, **more}  # fmt: skip


def quiet(data):
    pass
