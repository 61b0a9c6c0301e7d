"""lm-eval's transformers model, which also says how far it is and how many prompts it had to cut."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from dtm.foundations.errors import DataError

Progress = Callable[[dict[str, Any]], None]
EVERY = 0.5  # seconds between two reports of progress


class LanguageModel(HFLM):
    """`truncated` counts the requests whose beginning did not fit into `max_length` tokens."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        batch_size: int,
        max_length: int | None,
        progress: Progress | None,
    ):
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size,
            max_length=max_length,
            softmax_dtype=torch.float32,  # log likelihoods of a bf16 model would be sums of rounded terms
        )
        self.truncated = 0
        self.cache_hook = _Counter(progress)  # lm-eval calls it once for each answered request

    def loglikelihood(self, requests: list, disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        self.cache_hook.total = len(requests)
        return super().loglikelihood(requests, disable_tqdm=True)

    def generate_until(self, requests: list, disable_tqdm: bool = True) -> list[str]:
        self.cache_hook.total = len(requests)
        for request in requests:
            prompt, settings = request.args
            room = self.max_length - settings.get("max_gen_toks", self.max_gen_toks)
            if room <= 0:
                raise DataError(
                    f"an answer of {settings['max_gen_toks']} tokens leaves no room for a question in "
                    f"{self.max_length} tokens",
                    mend="Lower the task's `max_tokens`, or raise `max_length`",
                )
            self.truncated += len(self.tok_encode(prompt)) > room
        return super().generate_until(requests, disable_tqdm=True)

    def _loglikelihood_tokens(self, requests: list, **options: Any) -> list[tuple[float, bool]]:
        for (_, continuation), context_ids, continuation_ids in requests:
            if not 0 < len(continuation_ids) <= self.max_length:
                raise DataError(
                    f"the answer {continuation!r:.60} has {len(continuation_ids)} tokens, not between 1 and "
                    f"the {self.max_length} that fit"
                )
            self.truncated += len(context_ids) + len(continuation_ids) > self.max_length + 1
        return super()._loglikelihood_tokens(requests, **options)


class _Counter:
    """Stands where lm-eval's cache of answers would, and counts them."""

    dbdict = None

    def __init__(self, progress: Progress | None) -> None:
        self.progress, self.total, self.done, self.told = progress, 0, 0, 0.0

    def add_partial(self, kind: str, request: Any, answer: Any) -> None:
        self.done += 1
        if self.progress and (self.done == self.total or time.monotonic() - self.told >= EVERY):
            self.told = time.monotonic()
            self.progress({"done": self.done, "total": self.total})
