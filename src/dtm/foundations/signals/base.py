"""What the signals of the base share: the model in fp32, its rows, and arrays that a killed worker goes on filling.

A job holds: model (the base's folder), examples (a rendered Arrow file), output and scratch (folders), device,
threads, `options`, what else from_pretrained takes, and optionally batch_tokens, padded positions a batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dtm.foundations.batches import check_lengths
from dtm.foundations.errors import DataError, ModelError
from dtm.foundations.files import link, read_json, write_json
from dtm.foundations.types import Examples

Job = dict[str, Any]
Progress = Callable[[dict[str, Any]], None]
BATCH_TOKENS = 2048  # positions of a padded batch: its logits are this many rows of the vocabulary
FLUSH = 20.0  # seconds between two marks of how far the work is
MARK = "done.json"


def open_base(job: Job) -> Any:
    """The base in fp32 and eval mode; no weight needs a gradient."""
    import torch

    from dtm.foundations.models import load_model

    torch.set_num_threads(job["threads"])
    options = {**(job.get("options") or {}), "dtype": "float32"}
    return load_model(Path(job["model"]), options, device=job["device"]).eval().requires_grad_(False)


def open_rows(job: Job, model: Any) -> tuple[Examples, np.ndarray]:
    """The rows and their lengths in tokens, int64 [N]. Raises DataError on rows that the model cannot read."""
    examples = Examples.open(Path(job["examples"]))
    if not examples.rendered or not len(examples):
        raise DataError("there is no rendered row to measure", where=job["examples"])
    lengths_N, _ = examples.token_counts()
    check_lengths(lengths_N, model, job["examples"])
    return examples, lengths_N


def fill(
    job: Job,
    arrays: Mapping[str, tuple[tuple[int, ...], Any]],
    batches: Sequence[Sequence[int]],
    work: Callable[[Sequence[int]], Mapping[str, Any]],
    progress: Progress,
) -> None:
    """Write `NAME.npy` for each of `arrays` (shape, dtype): `work` gives the rows at a batch's indices.

    The arrays grow in the job's scratch, memory-mapped, and are marked with how many batches are on disk, so
    that a worker which takes over a killed one's job goes on from there. A batch's rows depend on that batch
    alone: the bytes are those of an undisturbed job. Raises ModelError on a value that is not finite.
    """
    scratch, output = Path(job["scratch"]), Path(job["output"])
    files = {name: scratch / f"{name}.npy" for name in arrays}
    done = read_json(scratch / MARK)["batches"] if (scratch / MARK).exists() else 0
    mode: Any = "r+" if done else "w+"
    maps = {
        name: np.lib.format.open_memmap(files[name], mode, dtype, shape)
        for name, (shape, dtype) in arrays.items()
    }
    rows, total = sum(map(len, batches[:done])), sum(map(len, batches))
    marked = time.monotonic()
    for number, batch in enumerate(batches[done:], done + 1):
        for name, values in work(batch).items():
            if not np.isfinite(values).all():
                raise ModelError(
                    f"the {name} is not finite at index {batch[0]}, or beside it in its batch, so the model is broken",
                    where=job["model"],
                )
            maps[name][batch] = values
        rows += len(batch)
        progress({"done": rows, "total": total})
        if time.monotonic() - marked > FLUSH or number == len(batches):
            for array in maps.values():
                array.flush()
            write_json(scratch / MARK, {"batches": number})  # after what it vouches for
            marked = time.monotonic()
    del maps
    for name, file in files.items():
        link(file, output / f"{name}.npy")
