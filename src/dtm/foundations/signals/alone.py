"""The base's loss on each row's response without its instruction: what the `loss` is compared with in IFD.

The row is rendered again with all that the user and the system say left empty, so that the response stands where it
stood, behind the same template; in a conversation the assistant's earlier turns are still there. Of a row that was
truncated the same tokens of the response are read. A row without an instruction, such as one of plain text, has none
to leave out: 0, as of a response that costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    examples, whole_N = open_rows(job, model)
    bare = without_instruction(examples, job["model"])
    lengths_N, _ = bare.token_counts()
    same_N = lengths_N == whole_N
    rows = np.flatnonzero(same_N)  # few but in plain text
    pairs = zip(*(one.take(rows).column("input_ids") for one in (examples, bare)), strict=True)
    same_N[rows] = [ids == others for ids, others in pairs]

    def work(indices: Sequence[int]) -> dict[str, np.ndarray]:
        batch = padded(bare.take(indices), model.device)
        with torch.inference_mode():
            logits_NTV = model(**batch.inputs).logits[:, :-1]
            rows = zip(logits_NTV, batch.ids_NT[:, 1:], batch.told_NT, strict=True)
            losses = [cross_entropy(logits_TV[told_T].double(), ids_T[told_T]).item() if told_T.any() else 0.0
                      for logits_TV, ids_T, told_T in rows]  # fmt: skip
        return {"alone": np.where(same_N[np.asarray(indices)], 0.0, losses)}

    arrays = {"alone": ((len(bare),), np.float64)}
    fill(job, arrays, list(batches(lengths_N, job.get("batch_tokens") or BATCH_TOKENS)), work, progress)
    return {"rows": len(bare)}


def without_instruction(examples: Examples, model: str) -> Examples:
    """The rows with tokens of their responses alone, inside the template. Raises ModelError where it refuses that."""

    def bare(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        return [one if one["role"] in ("assistant", "text") else {**one, "content": ""} for one in messages]

    try:
        return _as_far(rendered_by(examples, model, bare), examples)
    except Unusable as reason:
        raise ModelError(f"the chat template cannot render an empty instruction: {reason}", where=model,
                         mend="Choose another scorer than ifd") from None  # fmt: skip


def _as_far(bare: Examples, examples: Examples) -> Examples:
    """The bare rows with as many tokens of the response as the rows have, where these were truncated."""
    _, told_N = examples.token_counts()
    _, bare_N = bare.token_counts()
    if not (bare_N > told_N).any():
        return bare
    cut: dict[str, list[Any]] = {name: [] for name in TOKENS.names}
    for ids, mask, told in zip(*(bare.column(name) for name in TOKENS.names), told_N.tolist(), strict=True):
        places = np.flatnonzero(mask)
        end = len(ids) if told >= len(places) else int(places[told - 1]) + 1 if told else 0
        cut["input_ids"].append(ids[:end])
        cut["assistant_mask"].append(mask[:end])
    return _with_tokens(bare, cut)


def _with_tokens(examples: Examples, values: Mapping[str, list[Any]]) -> Examples:
    """The rows with those columns of TOKENS."""
    import pyarrow as pa

    there = set(examples.table.column_names)
    table = examples.table.drop_columns([name for name in TOKENS.names if name in there])
    for name in TOKENS.names:
        table = table.append_column(TOKENS.field(name), pa.array(values[name], TOKENS.field(name).type))
    return Examples(table)


def rendered_by(
    examples: Examples, model: str, change: Callable[[Any], list[dict[str, str]]] = list
) -> Examples:
    """The rows in the tokens of the model's tokenizer, after a change of their messages; raises Unusable."""
    from transformers import AutoTokenizer

    renderer = Renderer(AutoTokenizer.from_pretrained(model, local_files_only=True), max_length=None)
    rendered = [renderer(change(row["messages"])) for row in examples.rows()]
    return _with_tokens(examples, {name: [getattr(one, name) for one in rendered] for name in TOKENS.names})
