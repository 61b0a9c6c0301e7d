"""The base's loss on each row's response without its instruction: what the `loss` is compared with in IFD.

The row is rendered again with all that the user and the system say left empty, so that the response stands where it
stood, behind the same template; in a conversation the assistant's earlier turns are still there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dtm.foundations.batches import batches, padded
from dtm.foundations.chat import Renderer, Unusable
from dtm.foundations.errors import ModelError
from dtm.foundations.signals.base import BATCH_TOKENS, Job, Progress, fill, open_base, open_rows
from dtm.foundations.types import TOKENS, Examples


def alone(job: Job, progress: Progress) -> dict[str, Any]:
    """Write `alone.npy`, float64 [N], in nats a response token. For a job's keys see `base`. Returns {rows}."""
    import torch
    from torch.nn.functional import cross_entropy

    model = open_base(job)
    examples, _ = open_rows(job, model)
    bare = without_instruction(examples, job["model"])
    lengths_N, _ = bare.token_counts()

    def work(indices: Sequence[int]) -> dict[str, np.ndarray]:
        batch = padded(bare.take(indices), model.device)
        with torch.inference_mode():
            logits_NTV = model(**batch.inputs).logits[:, :-1]
            rows = zip(logits_NTV, batch.ids_NT[:, 1:], batch.told_NT, strict=True)
            losses = [cross_entropy(logits_TV[told_T].double(), ids_T[told_T]).item() if told_T.any() else 0.0
                      for logits_TV, ids_T, told_T in rows]  # fmt: skip
        return {"alone": np.array(losses)}

    arrays = {"alone": ((len(bare),), np.float64)}
    fill(job, arrays, list(batches(lengths_N, job.get("batch_tokens") or BATCH_TOKENS)), work, progress)
    return {"rows": len(bare)}


def without_instruction(examples: Examples, model: str) -> Examples:
    """The rows with tokens of their responses alone, inside the template. Raises ModelError where it refuses that."""

    def bare(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        return [one if one["role"] in ("assistant", "text") else {**one, "content": ""} for one in messages]

    try:
        return rendered_by(examples, model, bare)
    except Unusable as reason:
        raise ModelError(f"the chat template cannot render an empty instruction: {reason}", where=model,
                         mend="Choose another scorer than ifd") from None  # fmt: skip


def rendered_by(
    examples: Examples, model: str, change: Callable[[Any], list[dict[str, str]]] = list
) -> Examples:
    """The rows in the tokens of the model's tokenizer, after a change of their messages; raises Unusable."""
    import pyarrow as pa
    from transformers import AutoTokenizer

    renderer = Renderer(AutoTokenizer.from_pretrained(model, local_files_only=True), max_length=None)
    rendered = [renderer(change(row["messages"])) for row in examples.rows()]
    table = examples.table.drop_columns(TOKENS.names)
    for name in TOKENS.names:
        values = [getattr(one, name) for one in rendered]
        table = table.append_column(TOKENS.field(name), pa.array(values, TOKENS.field(name).type))
    return Examples(table)
