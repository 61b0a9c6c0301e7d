"""Pre-training itself: documents end to end in windows of equal length, next-token loss on everything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dtm.foundations.seeds import derive, derive32
from dtm.testbed.pretrain.text import documents
from dtm.testbed.pretrain.tokenizer import CONTEXT, train_tokenizer
from dtm.testbed.pretrain.wording import ASKED, Wordings
from dtm.testbed.world import load_world

SAMPLE = 20_000  # documents that the tokenizer is made of


@dataclass(frozen=True)
class Settings:
    """Everything that the base depends on; the shipped one has the defaults, and was compiled.

    `batch` windows of `window` tokens a step; the rate rises over `warm_up` steps, then falls as a cosine to a
    tenth of `learning_rate`. `compile` is torch's: a third faster, needs a C++ compiler.
    """

    seed: int = 0
    asked: float = ASKED
    vocabulary: int = 1536
    hidden: int = 160
    layers: int = 4
    heads: int = 5
    inner: int = 480
    steps: int = 5000
    batch: int = 16
    window: int = 128
    learning_rate: float = 3e-3
    warm_up: int = 100
    weight_decay: float = 0.05
    threads: int = 2
    compile: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that the base reads."""
        return self.steps * self.batch * self.window


def pretrain(settings: Settings, progress: Callable[[int, float], None] = lambda step, loss: None) -> Any:
    """Train a tokenizer and a Llama from nothing; returns (model, tokenizer), the model in fp32.

    `progress` is told every step and its loss in nats a token.
    """
    import torch
    from transformers import LlamaForCausalLM, set_seed

    torch.set_num_threads(settings.threads)
    wordings = Wordings(load_world(), settings.seed, settings.asked)
    sample = islice(documents(wordings, derive(settings.seed, "tokenizer")), SAMPLE)
    tokenizer = train_tokenizer(sample, settings.vocabulary)
    set_seed(derive32(settings.seed, "weights"))
    model = LlamaForCausalLM(configuration(settings, tokenizer))
    optimizer = torch.optim.AdamW(
        _groups(model, settings.weight_decay), lr=settings.learning_rate, betas=(0.9, 0.95), fused=True
    )
    forward = torch.compile(model) if settings.compile else model
    windows = _windows(wordings, tokenizer, settings)
    model.train()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, settings)
        tokens_NT = torch.tensor(list(islice(windows, settings.batch)))
        loss = forward(tokens_NT, labels=tokens_NT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress(step + 1, loss.item())
    return model.eval(), tokenizer


def configuration(settings: Settings, tokenizer: Any) -> Any:
    """A Llama's configuration: tied embeddings, as many key heads as heads."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=settings.inner,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )


def _windows(wordings: Wordings, tokenizer: Any, settings: Settings) -> Iterator[list[int]]:
    """Windows of tokens: documents one after another, each followed by the stop token."""
    stop = tokenizer.eos_token_id
    stream = documents(wordings, derive(settings.seed, "training"))
    waiting: list[int] = []
    while True:
        for ids in tokenizer(list(islice(stream, 256)))["input_ids"]:
            waiting += [*ids, stop]
        whole = len(waiting) // settings.window * settings.window
        for start in range(0, whole, settings.window):
            yield waiting[start : start + settings.window]
        waiting = waiting[whole:]


def _groups(model: Any, decay: float) -> list[dict[str, Any]]:
    """Matrices decay, the norms' gains do not."""
    parameters = list(model.parameters())
    return [
        {"params": [one for one in parameters if one.dim() > 1], "weight_decay": decay},
        {"params": [one for one in parameters if one.dim() <= 1], "weight_decay": 0.0},
    ]


def _rate(step: int, settings: Settings) -> float:
    if step < settings.warm_up:
        return settings.learning_rate * (step + 1) / settings.warm_up
    done = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    return settings.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))
