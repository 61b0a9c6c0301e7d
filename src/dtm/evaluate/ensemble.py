"""Several causal models that answer as one: with the mean of their next-token probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from transformers.modeling_outputs import CausalLMOutputWithPast


class Ensemble(torch.nn.Module):
    """Stands where one transformers model does in evaluation; it costs as much as its models together.

    Its logits are log((1/K) sum_k p_k), fp32 [N, T, V]: a softmax leaves the mean probabilities as they are.
    """

    def __init__(self, models: Sequence[Any]) -> None:
        super().__init__()
        self.models = torch.nn.ModuleList(models)
        self.config, self.device = models[0].config, models[0].device
        self.generation_config = models[0].generation_config
        self._takes = [signature(model.forward).parameters.keys() for model in models]

    def tie_weights(self) -> None:
        """lm-eval asks for it; each model tied its own when it was loaded."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Caches | None = None,
        position_ids: torch.Tensor | None = None,
        use_cache: bool = False,
        logits_to_keep: int = 0,
    ) -> CausalLMOutputWithPast:
        """Mean log probabilities, and with `use_cache` every model's cache; 0 logits to keep are all."""
        total_NTV: Any = None
        caches = []
        own = {"position_ids": position_ids, "logits_to_keep": logits_to_keep}
        for number, (model, takes) in enumerate(zip(self.models, self._takes, strict=True)):
            output = model(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache,
                past_key_values=past_key_values.each[number] if past_key_values else None,
                **{name: value for name, value in own.items() if name in takes},
            )  # fmt: skip
            logs_NTV = output.logits.float().log_softmax(-1)
            total_NTV = logs_NTV if total_NTV is None else torch.logaddexp(total_NTV, logs_NTV)
            caches.append(getattr(output, "past_key_values", None))
        mean_NTV = total_NTV - math.log(len(self.models))
        kept: Any = Caches(caches) if use_cache else None
        return CausalLMOutputWithPast(logits=mean_NTV, past_key_values=kept)


class Caches:
    """The caches of an ensemble's models, used as one."""

    def __init__(self, each: Sequence[Any]) -> None:
        self.each = each

    @property
    def layers(self) -> list[Any]:
        """All models' layers; none where one of the models has no such memory."""
        layers = [getattr(cache, "layers", None) for cache in self.each]
        return [layer for several in layers for layer in several or ()] if all(layers) else []

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        for cache in self.each:
            cache.batch_select_indices(indices)
