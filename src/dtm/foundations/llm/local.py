"""A local HF model in this process, which answers in padded batches.

Sampling is by Gumbel noise (Gumbel 1954; Maddison et al. 2014, arXiv:1411.0030): the largest of `logit / temperature +
noise` is a draw from the softmax. Each request has a generator of its own, seeded by its seed, so its answer does not
depend on which others stand in its batch, but for the rounding that padding brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ModelError
from dtm.foundations.llm.requests import Completion, Failed, Request
from dtm.foundations.llm.settings import LLM
from dtm.foundations.seeds import derive32


class Local:
    """The model in `folder`, loaded at the first request; `digest` is of its content, and enters the cache's keys.

    `options` is what else from_pretrained takes.
    """

    width, held, free = 1, False, False

    def __init__(
        self,
        llm: LLM,
        folder: Path,
        digest: str,
        *,
        options: dict[str, Any] | None = None,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self.llm, self.folder, self.digest = llm, folder, digest
        self.options, self.device, self.threads = options or {}, device, threads
        self.batch, self.name = llm.batch_size, f"the model {llm.model!r}"
        self._model: Any = None
        self._tokenizer: Any = None

    @property
    def identity(self) -> dict[str, Any]:
        llm = self.llm
        return {"kind": "hf", "model": self.digest, "options": self.options, "temperature": llm.temperature,
                "top_p": llm.top_p, "max_tokens": llm.max_tokens, "device": self.device,
                "threads": self.threads}  # fmt: skip

    def complete(self, requests: Sequence[Request]) -> list[Completion | Failed]:
        """One batch; a prompt that leaves no room before the model's positions end is a Failed."""
        self._load()
        limit = getattr(self._model.config, "max_position_embeddings", None) or 1 << 30
        answers: list[Completion | Failed] = []
        fitting: list[tuple[Request, list[int], int]] = []
        for request in requests:
            ids = self._ids(request)
            if len(ids) < limit:
                fitting.append(
                    (request, ids, min(request.max_tokens or self.llm.max_tokens, limit - len(ids)))
                )
            answers.append(
                Failed(f"the prompt has {len(ids)} tokens, and the model's positions end at {limit}")
                if len(ids) >= limit else Completion("")
            )  # fmt: skip
        said = iter(self._generate(fitting) if fitting else [])
        return [one if isinstance(one, Failed) else next(said) for one in answers]

    def close(self) -> None:
        """Let go of the model, and of the memory of a GPU."""
        self._model = self._tokenizer = None
        if self.device != "cpu":
            import torch

            torch.cuda.empty_cache()

    def _load(self) -> None:
        if self._model is not None:
            return
        import torch
        from transformers import AutoTokenizer

        from dtm.foundations.models import load_model

        if self.threads:
            torch.set_num_threads(self.threads)
        tokenizer: Any = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        if not tokenizer.chat_template:
            raise ModelError(f"{self.llm.model!r} has no chat template, so it cannot be asked", where="llm.model",
                             mend="Take an instruction-tuned model")  # fmt: skip
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        model = load_model(self.folder, self.options, device=self.device)
        self._model, self._tokenizer = model.eval().requires_grad_(False), tokenizer

    def _ids(self, request: Request) -> list[int]:
        messages = [dict(message) for message in request.messages]
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def _generate(self, fitting: Sequence[tuple[Request, list[int], int]]) -> list[Completion]:
        """Answers to (request, prompt, room), in one batch."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        requests, prompts, rooms = zip(*fitting, strict=True)
        longest, pad = max(map(len, prompts)), self._tokenizer.pad_token_id
        ids_NT = torch.full((len(prompts), longest), pad, dtype=torch.long)
        seen_NT = torch.zeros_like(ids_NT)
        for row, ids in enumerate(prompts):
            ids_NT[row, longest - len(ids) :] = torch.tensor(ids)
            seen_NT[row, longest - len(ids) :] = 1
        stops = sorted(self._stops())
        config = GenerationConfig(
            do_sample=False, max_new_tokens=max(rooms), eos_token_id=stops, pad_token_id=pad
        )
        draws = [self._draw(request) for request in requests]
        with torch.inference_mode():
            out_NT = self._model.generate(
                ids_NT.to(self.device), attention_mask=seen_NT.to(self.device), generation_config=config,
                logits_processor=LogitsProcessorList([Sampling(draws)]),
            )  # fmt: skip
        said = out_NT[:, longest:].tolist()
        return [
            self._completion(*one, set(stops)) for one in zip(requests, prompts, rooms, said, strict=True)
        ]

    def _completion(
        self, request: Request, prompt: list[int], room: int, said: list[int], stops: set[int]
    ) -> Completion:
        """The text up to a stop token, to the room, or to one of the request's own stops."""
        end = next((place for place, token in enumerate(said) if token in stops), len(said))
        finish = "length" if end >= room or end == len(said) else "stop"
        end = min(end, room)
        text = self._tokenizer.decode(said[:end], skip_special_tokens=True)
        cuts = [place for stop in request.stop if (place := text.find(stop)) >= 0]
        if cuts:
            text, finish = text[: min(cuts)], "stop"
        return Completion(text, finish, len(prompt), end)

    def _stops(self) -> set[int]:
        """The tokens at which the model ends an answer."""
        from dtm.foundations.chat import stop_tokens

        own = self._model.generation_config.eos_token_id
        return stop_tokens(self._tokenizer) | set(
            own if isinstance(own, list) else [own] if own is not None else []
        )

    def _draw(self, request: Request) -> tuple[float, float, Any]:
        import torch

        temperature = self.llm.temperature if request.temperature is None else request.temperature
        top_p = self.llm.top_p if request.top_p is None else request.top_p
        generator = torch.Generator().manual_seed(derive32(request.seed or 0, "sample"))
        return 0.0 if temperature is None else temperature, top_p, generator


class Sampling:
    """A logits processor: what greedy decoding then takes is each row's own draw, or its best where it is greedy.

    `draws` are (temperature, top_p, generator) of the rows. Scores are [N, V].
    """

    def __init__(self, draws: Sequence[tuple[float, float, Any]]) -> None:
        self.draws = draws

    def __call__(self, ids_NT: Any, scores_NV: Any) -> Any:
        import torch

        if not any(temperature for temperature, *_ in self.draws):
            return scores_NV
        scores_NV = scores_NV.float()
        for row, (temperature, top_p, generator) in enumerate(self.draws):
            if temperature:
                logits_V = nucleus(scores_NV[row] / temperature, top_p)
                uniform_V = torch.rand(len(logits_V), generator=generator, dtype=torch.float64)
                noise_V = -torch.log(-torch.log(uniform_V.clamp_min(1e-300)))
                scores_NV[row] = logits_V + noise_V.to(logits_V)
        return scores_NV


def nucleus(logits_V: Any, top_p: float) -> Any:
    """The logits, minus infinity outside the smallest set of tokens whose probability reaches `top_p`.

    Holtzman et al. 2019, "The curious case of neural text degeneration", arXiv:1904.09751.
    """
    import torch

    if top_p >= 1:
        return logits_V
    sorted_V, order_V = logits_V.sort(descending=True)
    before_V = sorted_V.softmax(-1).cumsum(-1) - sorted_V.softmax(-1)
    kept_V = torch.full_like(logits_V, -torch.inf)
    inside = order_V[before_V < top_p]
    kept_V[inside] = logits_V[inside]
    return kept_V
