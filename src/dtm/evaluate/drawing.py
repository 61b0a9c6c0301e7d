"""Answers drawn from a model, each token by a number in [0, 1): where that number falls among the probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dtm.evaluate.reading import Reading, can_be_read, padded


@dataclass(frozen=True)
class Drawing:
    """How probabilities come from logits; the names are those of transformers' GenerationConfig. `top_k` 0: all."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def tokens(self, logits_NV: torch.Tensor, numbers_N: Any) -> list[int]:
        """A token a row: the likeliest ones stand first, and the number says how far to go; fp64."""
        logits_NV, order_NV = (logits_NV.double() / self.temperature).sort(
            dim=-1, descending=True, stable=True
        )
        shares_NV = logits_NV.softmax(-1)
        if self.top_k:
            shares_NV[:, self.top_k :] = 0
        if self.top_p < 1:  # the token that reaches top_p is still in
            shares_NV[shares_NV.cumsum(-1) - shares_NV >= self.top_p] = 0
        sums_NV = shares_NV.cumsum(-1)
        wanted_N = torch.as_tensor(numbers_N, dtype=torch.float64, device=sums_NV.device) * sums_NV[:, -1]
        places_N = torch.searchsorted(sums_NV, wanted_N[:, None], right=True)[:, 0]
        last_N = (shares_NV > 0).sum(-1) - 1  # rounding may lead behind the last
        return order_NV.gather(1, torch.minimum(places_N, last_N)[:, None])[:, 0].tolist()


@torch.inference_mode()
def draw(
    model: Any,
    prompts: Sequence[Sequence[int]],
    copies: int,
    numbers: Sequence[Any],
    most: int,
    ends: set[int],
    drawing: Drawing,
) -> list[list[int]]:
    """`copies` answers to each prompt, prompt by prompt: `most` tokens at most, up to one of `ends`.

    `numbers[row]` are those of that answer, fp64 [most]. A prompt is read once for all its answers, and who has
    ended leaves the batch, where the model's memory can be taken apart.
    """
    if not can_be_read(model):
        return _generated(model, prompts, copies, numbers, most, ends, drawing)
    state = _Read(model, prompts, copies)
    answers: list[list[int]] = [[] for _ in numbers]
    rows = list(range(len(answers)))
    while rows:
        drawn = drawing.tokens(state.logits_NV, [numbers[row][len(answers[row])] for row in rows])
        for row, token in zip(rows, drawn, strict=True):
            answers[row].append(token)
        left = [place for place, row in enumerate(rows) if not _ended(answers[row], ends, most)]
        if left:
            state.go_on(left, [drawn[place] for place in left])
        rows = [rows[place] for place in left]
    return answers


def _ended(answer: list[int], ends: set[int], most: int) -> bool:
    return answer[-1] in ends or len(answer) == most


class _Read:
    """Rows of a batch, their memory kept from token to token."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], copies: int) -> None:
        self.reading = Reading(model, prompts)
        owners = [place for place in range(len(prompts)) for _ in range(copies)]
        self.reading.select(owners)
        self.logits_NV = self.reading.logits_NV[owners]
        self.count = len(owners)

    def go_on(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Keep these rows, each with its next token."""
        if len(rows) < self.count:
            self.reading.select(rows)
            self.count = len(rows)
        ids_N1 = torch.tensor(tokens, device=self.reading.device)[:, None]
        self.logits_NV = self.reading.read(ids_N1, last=True)[:, -1]


def _generated(
    model: Any,
    prompts: Sequence[Sequence[int]],
    copies: int,
    numbers: Sequence[Any],
    most: int,
    ends: set[int],
    drawing: Drawing,
) -> list[list[int]]:
    """The same by transformers' `generate`, which knows every kind of memory: all of the batch to the last token."""
    ids_NT, seen_NT = padded(prompts, left=True, device=model.device)
    asked = {"input_ids": ids_NT, "attention_mask": seen_NT}
    asked = {name: one.repeat_interleave(copies, 0) for name, one in asked.items()}
    width = ids_NT.shape[1]

    def choose(said_NT: torch.Tensor, logits_NV: torch.Tensor) -> torch.Tensor:
        place = said_NT.shape[1] - width
        drawn_N = torch.tensor(
            drawing.tokens(logits_NV, [row[place] for row in numbers]), device=logits_NV.device
        )
        return torch.full_like(logits_NV, -torch.inf).scatter(1, drawn_N[:, None], 0.0)

    said_NT = model.generate(
        **asked, max_new_tokens=most, do_sample=False, eos_token_id=sorted(ends), logits_processor=[choose],
        temperature=None, top_p=None, top_k=None, use_cache=True,
    )  # fmt: skip
    answers = []
    for row in said_NT[:, width:].tolist():
        stop = next((place for place, token in enumerate(row) if token in ends), len(row) - 1)
        answers.append(row[: stop + 1])
    return answers
