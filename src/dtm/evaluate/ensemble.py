"""Several causal models that answer as one: with the mean of their next-token probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from transformers.modeling_outputs import CausalLMOutputWithPast

from dtm.foundations.errors import ConfigError


class Ensemble(torch.nn.Module):
    """Stands where one transformers model does in evaluation; it costs as much as its models together.

    Its logits are log((1/K) sum_k p_k), fp32 [N, T, V]: a softmax leaves the mean probabilities as they are.
    """

    def __init__(self, models: Sequence[Any]) -> None:
        super().__init__()
        self.models = torch.nn.ModuleList(models)
        self.config, self.device = models[0].config, models[0].device
        self._positions = ["position_ids" in signature(model.forward).parameters for model in models]

    def tie_weights(self) -> None:
        """lm-eval asks for it; each model tied its own when it was loaded."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Sequence[Any] | None = None,
        position_ids: torch.Tensor | None = None,
        use_cache: bool = False,
    ) -> CausalLMOutputWithPast:
        """Mean log probabilities, and with `use_cache` each model's cache; `past_key_values` holds one a model."""
        total_NTV: Any = None
        caches = []
        for number, model in enumerate(self.models):
            more = {"position_ids": position_ids} if self._positions[number] else {}
            past = past_key_values[number] if past_key_values else None
            output = model(
                input_ids=input_ids, attention_mask=attention_mask, past_key_values=past, use_cache=use_cache, **more
            )  # fmt: skip
            logs_NTV = output.logits.float().log_softmax(-1)
            total_NTV = logs_NTV if total_NTV is None else torch.logaddexp(total_NTV, logs_NTV)
            caches.append(output.past_key_values if use_cache else None)
        mean_NTV = total_NTV - math.log(len(self.models))
        return CausalLMOutputWithPast(logits=mean_NTV, past_key_values=caches if use_cache else None)  # type: ignore[arg-type]

    @torch.inference_mode()
    def generate(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        max_length: int,
        stopping_criteria: Any,
        pad_token_id: int,
        do_sample: bool = False,
        use_cache: bool = True,
        **settings: Any,
    ) -> torch.Tensor:
        """The greedy answers behind left-padded prompts [N, T], as `GenerationMixin.generate` gives them."""
        if do_sample or settings:
            told = ", ".join(sorted(settings)) or "do_sample"
            raise ConfigError(
                f"an ensemble answers greedily, and the task asks for {told}", where="evaluate.tasks"
            )
        ends = torch.tensor(self._ends(), device=input_ids.device)
        going_N = torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
        seen_NT, step_NT, caches = attention_mask, input_ids, None
        while going_N.any() and input_ids.shape[1] < max_length:
            positions_NT = (seen_NT.cumsum(-1) - 1).clamp(min=0)[:, -step_NT.shape[1] :]
            output = self(step_NT, seen_NT, caches, positions_NT, use_cache=True)
            caches = output.past_key_values
            best_N = output.logits[:, -1].argmax(-1)
            step_NT = torch.where(going_N, best_N, pad_token_id)[:, None]
            input_ids = torch.cat([input_ids, step_NT], dim=1)
            seen_NT = torch.cat([seen_NT, torch.ones_like(step_NT)], dim=1)
            stopped_N = torch.isin(best_N, ends) | stopping_criteria(input_ids, None).to(going_N.device)
            going_N = going_N & ~stopped_N
        return input_ids

    def _ends(self) -> list[int]:
        """The tokens at which an answer ends."""
        said: Any = self.models[0].generation_config.eos_token_id  # type: ignore[union-attr]
        return [] if said is None else list(said) if isinstance(said, list | tuple) else [said]
