"""Prompts that a model has read, and what it says next: what prompts share is computed once.

A benchmark's prompts begin with the same examples, its choices with the same question, and its answers end at
different steps. So the beginning that a batch shares is read once, a question once for all of its choices, and who
has answered leaves the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

LEAST = 16  # tokens: a shorter beginning is not worth a pass of its own
STAY = (
    0.75  # rows that have answered stay in the batch until a quarter has: to leave means to copy the others
)


class Reading:
    """N prompts read by a causal model; `logits_NV` are those of each prompt's next token, fp32."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]]) -> None:
        self.model, self.device, self.cache = model, model.device, None
        self._takes = signature(model.forward).parameters.keys() & {"position_ids", "logits_to_keep"}
        shared = _shared(prompts)
        self.seen_NT = torch.ones(1, 0, dtype=torch.long, device=self.device)
        if shared:
            self.read(torch.tensor([prompts[0][:shared]], device=self.device), last=True)
            self.select([0] * len(prompts))
        else:
            self.seen_NT = self.seen_NT.expand(len(prompts), 0)
        tokens_NT, seen_NT = padded([prompt[shared:] for prompt in prompts], left=True, device=self.device)
        self.logits_NV = self.read(tokens_NT, seen_NT, last=True)[:, -1]

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in that order; one may be there several times."""
        chosen = torch.tensor(rows, device=self.device)
        self.seen_NT = self.seen_NT[chosen]
        self.cache.batch_select_indices(chosen)  # type: ignore[attr-defined]

    @torch.inference_mode()
    def read(
        self, tokens_NT: torch.Tensor, seen_NT: torch.Tensor | None = None, *, last: bool = False
    ) -> torch.Tensor:
        """Let each row go on with its tokens (where `seen_NT` is 1); logits [N, T, V] fp32 of what follows each.

        With `last` only those behind the last token, [N, 1, V].
        """
        seen_NT = torch.ones_like(tokens_NT) if seen_NT is None else seen_NT
        self.seen_NT = torch.cat([self.seen_NT, seen_NT], dim=1)
        more: dict[str, Any] = {}
        if "position_ids" in self._takes:
            more["position_ids"] = (self.seen_NT.cumsum(-1) - 1).clamp(min=0)[:, -tokens_NT.shape[1] :]
        if last and "logits_to_keep" in self._takes:
            more["logits_to_keep"] = 1
        output = self.model(
            input_ids=tokens_NT, attention_mask=self.seen_NT, past_key_values=self.cache, use_cache=True, **more
        )  # fmt: skip
        self.cache = output.past_key_values
        return output.logits[:, -1:].float() if last else output.logits.float()


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens to read once for all: those that all prompts begin with, but for each one's last."""
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))  # what these two share, all share
    most = min(map(len, prompts)) - 1
    count = next((place for place in range(most) if first[place] != last[place]), most)
    return count if count >= LEAST and len(prompts) > 1 else 0


def can_be_read(model: Any) -> bool:
    """Whether the model's memory of what it read is of the plain kind, whose rows can be taken apart and repeated.

    A sliding window counts padding as text, and a recurrent state has no rows of its own.
    """
    with torch.inference_mode():
        output = model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=True)
    layers = getattr(getattr(output, "past_key_values", None), "layers", None)
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)  # type: ignore[union-attr]


def choices(
    model: Any, contexts: Sequence[Sequence[int]], continuations: Sequence[Sequence[Sequence[int]]]
) -> list[tuple[float, bool]]:
    """Log likelihood, in nats, of each continuation of each context, and whether greedy search would say it.

    `continuations[n]` are those of `contexts[n]`; results come in their order, context by context. The terms are of
    fp32 logits, their sums fp64.
    """
    reading = Reading(model, contexts)
    owners_R = [n for n, several in enumerate(continuations) for _ in several]
    flat_R = [continuation for several in continuations for continuation in several]
    first_R = torch.tensor([tokens[0] for tokens in flat_R], device=reading.device)
    first_NV, total_N = reading.logits_NV, reading.logits_NV.logsumexp(-1)
    logs_R = (first_NV[owners_R, first_R] - total_N[owners_R]).double()
    greedy_R = first_NV.argmax(-1)[owners_R] == first_R
    longer = [place for place, tokens in enumerate(flat_R) if len(tokens) > 1]
    if longer:
        reading.select([owners_R[place] for place in longer])
        tokens_LT, seen_LT = padded([flat_R[place] for place in longer], left=False, device=reading.device)
        logits_LTV = reading.read(tokens_LT[:, :-1], seen_LT[:, 1:])
        said_LT, counts_LT = tokens_LT[:, 1:], seen_LT[:, 1:].bool()
        picked_LT = logits_LTV.gather(2, said_LT[..., None])[..., 0] - logits_LTV.logsumexp(-1)
        logs_R[longer] += picked_LT.double().where(counts_LT, 0).sum(1)
        greedy_R[longer] &= ((logits_LTV.argmax(-1) == said_LT) | ~counts_LT).all(1)
    return list(zip(logs_R.tolist(), greedy_R.tolist(), strict=True))


def greedy(
    model: Any,
    prompts: Sequence[Sequence[int]],
    most: int,
    ends: set[int],
    stopped: Callable[[list[int]], bool],
) -> list[list[int]]:
    """The likeliest next tokens behind each prompt, `most` at most, up to one of `ends` or where `stopped(tokens)`."""
    reading = Reading(model, prompts)
    answers: list[list[int]] = [[] for _ in prompts]
    rows, done, best_N = list(range(len(prompts))), set[int](), reading.logits_NV.argmax(-1)
    while len(done) < len(prompts):
        for row, token in zip(rows, best_N.tolist(), strict=True):
            if row not in done:
                answers[row].append(token)
                if len(answers[row]) == most or token in ends or stopped(answers[row]):
                    done.add(row)
        left = [place for place, row in enumerate(rows) if row not in done]
        if left and len(left) <= STAY * len(rows):
            reading.select(left)
            rows, best_N = [rows[place] for place in left], best_N[left]
        if left:
            best_N = reading.read(best_N[:, None], last=True)[:, -1].argmax(-1)
    return answers


def padded(rows: Sequence[Sequence[int]], *, left: bool, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows as a table [N, T] of int64, and where they stand in it; the rest is token 0."""
    longest = max(map(len, rows))
    tokens_NT = torch.zeros(len(rows), longest, dtype=torch.long)
    seen_NT = torch.zeros_like(tokens_NT)
    for number, row in enumerate(rows):
        place = slice(longest - len(row), None) if left else slice(len(row))
        tokens_NT[number, place] = torch.tensor(row, dtype=torch.long)
        seen_NT[number, place] = 1
    return tokens_NT.to(device), seen_NT.to(device)
