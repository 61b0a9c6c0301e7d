"""lm-eval's transformers model, answering by `reading`; it says how far it is and how many prompts it had to cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from dtm.evaluate.reading import can_be_read, choices, greedy
from dtm.foundations.errors import ConfigError, DataError
from dtm.foundations.files import text_digest

Progress = Callable[[dict[str, Any]], None]
EVERY = 0.5  # seconds between two reports of progress
GREEDY = {"until", "max_gen_toks", "do_sample", "temperature"}  # settings of an answer that `greedy` gives


class LanguageModel(HFLM):
    """A loaded model, or an ensemble, for lm-eval.

    `truncated` counts the requests whose beginning did not fit into `max_length` tokens. Models whose memory is not
    of the plain kind, and answers that are not greedy, are left to lm-eval's own ways.
    """

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
        self.readable = self.backend == "causal" and can_be_read(model)
        self._encoded = _encoded_by(tokenizer)

    def tok_encode(self, string: str, **options: Any) -> list[int]:
        """As lm-eval encodes it; remembered, for the same questions are put to every model of a run."""
        key = (string, *sorted(options.items()))
        if key not in self._encoded:
            self._encoded[key] = super().tok_encode(string, **options)
        return self._encoded[key]

    def loglikelihood(self, requests: list, disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        self.cache_hook.total = len(requests)
        return super().loglikelihood(requests, disable_tqdm=True)

    def generate_until(self, requests: list, disable_tqdm: bool = True) -> list[str]:
        self.cache_hook.total = len(requests)
        asked = [_Asked(self, *request.args) for request in requests]
        self.truncated += sum(one.cut for one in asked)
        if self.readable and all(one.greedy for one in asked):
            return self._greedy(asked)
        if not hasattr(self.model, "generate"):
            raise ConfigError(
                "an ensemble answers greedily, and the task asks for another way", where="evaluate.tasks"
            )
        return super().generate_until(requests, disable_tqdm=True)

    def _greedy(self, asked: list[_Asked]) -> list[str]:
        """Longest prompts first, as many as the batch size at a time; those of one batch stop alike."""
        said: dict[int, str] = {}
        alike: dict[tuple, list[int]] = {}
        for place, one in enumerate(asked):
            alike.setdefault((one.most, *one.stops), []).append(place)
        for (most, *stops), places in alike.items():
            for batch in _batches(places, self.batch_size, lambda place: asked[place].ids):
                prompts = [asked[place].ids for place in batch]
                ended = lambda tokens, stops=stops: any(stop in self.tok_decode(tokens) for stop in stops)  # noqa: E731
                for place, tokens in zip(
                    batch, greedy(self.model, prompts, most, self._ends, ended), strict=True
                ):
                    said[place] = _before(self.tok_decode(tokens), stops)
                    self.cache_hook.add_partial("generate_until", asked[place].prompt, said[place])
        return [said[place] for place in range(len(asked))]

    def _loglikelihood_tokens(self, requests: list, **options: Any) -> list[tuple[float, bool]]:
        for (_, continuation), context_ids, continuation_ids in requests:
            if not 0 < len(continuation_ids) <= self.max_length:
                raise DataError(
                    f"the answer {continuation!r:.60} has {len(continuation_ids)} tokens, not between 1 and "
                    f"the {self.max_length} that fit"
                )
            self.truncated += len(context_ids) + len(continuation_ids) > self.max_length + 1
        if not self.readable:
            return super()._loglikelihood_tokens(requests, **options)
        contexts: dict[tuple[int, ...], list[int]] = {}
        for place, (_, context, continuation) in enumerate(requests):
            kept = tuple(context[-(self.max_length + 1 - len(continuation)) :])
            contexts.setdefault(kept, []).append(place)
        found: dict[int, tuple[float, bool]] = {}
        width = max(
            map(len, contexts.values())
        )  # rows of a batch once a question is there for each of its choices
        for batch in _batches(list(contexts), max(1, self.batch_size // width), lambda context: context):
            places = [contexts[context] for context in batch]
            answers = choices(
                self.model, batch, [[requests[place][2] for place in several] for several in places]
            )
            for place, answer in zip(
                (place for several in places for place in several), answers, strict=True
            ):
                found[place] = answer
                self.cache_hook.add_partial("loglikelihood", requests[place][0], answer)
        return [found[place] for place in range(len(requests))]

    @property
    def _ends(self) -> set[int]:
        """The tokens at which an answer ends."""
        said = self.model.generation_config.eos_token_id
        return {self.eot_token_id, *(said if isinstance(said, list | tuple) else [said])} - {None}


class _Asked:
    """A prompt to answer: its tokens, cut to leave room for the answer, and where the answer ends."""

    def __init__(self, model: LanguageModel, prompt: str, settings: dict[str, Any]) -> None:
        self.prompt, self.most = prompt, settings.get("max_gen_toks", model.max_gen_toks)
        room = model.max_length - self.most
        if room <= 0:
            raise DataError(
                f"an answer of {self.most} tokens leaves no room for a question in {model.max_length} tokens",
                mend="Lower the task's `max_tokens`, or raise `max_length`",
            )
        ids = model.tok_encode(prompt)
        self.ids, self.cut = ids[-room:], len(ids) > room
        until = settings.get("until") or []
        self.stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
        self.greedy = (
            settings.keys() <= GREEDY and not settings.get("do_sample") and not settings.get("temperature")
        )


_encoded: dict[str, dict[tuple, list[int]]] = {}  # of the last tokenizer, by its content


def _encoded_by(tokenizer: Any) -> dict[tuple, list[int]]:
    """What this worker has encoded with the very same tokenizer, to be added to."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return {}
    content = text_digest(f"{type(tokenizer).__name__} {backend.to_str()} {tokenizer.special_tokens_map}")
    if content not in _encoded:
        _encoded.clear()
        _encoded[content] = {}
    return _encoded[content]


def _batches(items: Sequence[Any], size: int, tokens: Callable[[Any], Sequence[int]]) -> Iterator[list[Any]]:
    """The items in batches, those of many tokens first, and of equally many those with a common beginning together."""
    order = sorted(items, key=lambda item: (-len(tokens(item)), tuple(tokens(item))))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _before(text: str, stops: Sequence[str]) -> str:
    """The text up to the first of the stops."""
    return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]


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
