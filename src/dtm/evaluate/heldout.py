"""The loss on rows kept from training: nats per token of what the assistant says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dtm.evaluate.loading import model_and_tokenizer, parameters_of
from dtm.foundations.batches import batches, check_lengths, padded
from dtm.foundations.errors import DataError, ModelError
from dtm.foundations.files import canonical, write_json, write_text
from dtm.foundations.seeds import derive
from dtm.foundations.statistics import bootstrap_ratio
from dtm.foundations.types import Examples

BATCH_TOKENS = 2048  # positions of a padded batch: its logits are this many rows of the vocabulary


def response_loss(
    job: dict[str, Any], progress: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Mean negative log likelihood of the response tokens of rendered rows.

    `job` holds model, adapter (or parts), output (folders), examples (path of a rendered `Examples` file), and
    optionally batch_tokens (2048 padded positions a batch), device, dtype, threads.

    A row's loss is the sum, in nats, over the tokens that its assistant mask marks; its first token is
    never predicted. Batches hold rows of like length and depend on nothing but lengths, so the same job
    gives the same bytes. `items.jsonl` has {id, source, loss_sum, tokens} in the order of the rows;
    `scores.json` is {"sources": what `summarise` makes of them}, and the result that and `parameters`.
    """
    import torch

    if job.get("threads"):
        torch.set_num_threads(job["threads"])
    examples = Examples.open(Path(job["examples"]))
    if not examples.rendered or not len(examples):
        raise DataError("there is no rendered row to measure", where=job["examples"])
    model, _ = model_and_tokenizer(job)
    lengths_N, _ = examples.token_counts()
    check_lengths(lengths_N, model, job["examples"])
    losses: list[tuple[float, int]] = [(0.0, 0)] * len(examples)
    done = 0
    for indices in batches(lengths_N, job.get("batch_tokens") or BATCH_TOKENS):
        for index, loss in zip(indices, _losses(model, examples.take(indices)), strict=True):
            if not math.isfinite(loss[0]):
                raise ModelError(f"the loss of row {index + 1} is not finite, so the model is broken",
                                 where=job.get("adapter") or job.get("model"))  # fmt: skip
            losses[index] = loss
        done += len(indices)
        if progress:
            progress({"done": done, "total": len(examples)})
    items = [
        {"id": identity, "source": source, "loss_sum": loss, "tokens": tokens}
        for identity, source, (loss, tokens) in zip(
            examples.column("id"), examples.column("source"), losses, strict=True
        )
    ]
    scores = {"sources": summarise(items)}
    output = Path(job["output"])
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "items.jsonl", "".join(canonical(item) + "\n" for item in items))
    write_json(output / "scores.json", scores)
    return {**scores, "parameters": parameters_of(model)}


def summarise(items: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """{source, or "all": {loss, low, high, tokens, rows}}, the loss in nats a token.

    The interval (95 %) is a bootstrap over rows, since tokens of one row are not independent. Sources
    without a response token have no loss and are left out.
    """
    sources: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        sources.setdefault(item["source"], []).append(item)
    scores = {}
    for name, rows in {**sources, "all": list(items)}.items():
        told = [row for row in rows if row["tokens"]]
        if not told:
            continue
        losses, tokens = [row["loss_sum"] for row in told], [row["tokens"] for row in told]
        low, high = bootstrap_ratio(losses, tokens, derive(0, "heldout", name))
        loss = math.fsum(losses) / sum(tokens)
        scores[name] = {"loss": loss, "low": low, "high": high, "tokens": sum(tokens), "rows": len(rows)}
    return scores


def _losses(model: Any, examples: Examples) -> list[tuple[float, int]]:
    """For each row the sum of its negative log likelihoods, in fp64 over fp32 terms, and their number."""
    import torch
    from torch.nn.functional import cross_entropy

    batch = padded(examples, model.device)
    rows = zip(batch.ids_NT[:, 1:], batch.told_NT, strict=True)
    with torch.inference_mode():
        logits_NTV = model(**batch.inputs).logits
        results = []
        for logits_TV, (targets_T, told_T) in zip(logits_NTV[:, :-1], rows, strict=True):
            loss_T = cross_entropy(logits_TV[told_T].float(), targets_T[told_T], reduction="none")
            results.append((float(loss_T.double().sum()), len(loss_T)))
    return results
