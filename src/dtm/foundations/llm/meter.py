"""What asking costs: an estimate before, a count while it runs, and the cap that ends it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from dtm.foundations.errors import ResourceError
from dtm.foundations.llm.requests import Request
from dtm.foundations.llm.settings import LLM


@dataclass(frozen=True)
class Estimate:
    """Of what is not cached: requests, prompt tokens (about), completion tokens (at most), and their cost at most."""

    requests: int
    cached: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None

    @property
    def words(self) -> str:
        """One line for a person: `40 requests (2 more are cached), about 3,100 tokens in, at most 20,480 out`."""
        if not self.requests:
            return f"all {self.cached:,} answers are cached"
        known = f" ({self.cached:,} more are cached)" if self.cached else ""
        text = (f"{self.requests:,} requests{known}, about {self.prompt_tokens:,} tokens in, "
                f"at most {self.completion_tokens:,} out")  # fmt: skip
        return text if self.cost is None else f"{text}, at most {self.cost:,.2f} to pay"


def estimate(requests: Sequence[Request], llm: LLM, *, cached: int = 0) -> Estimate:
    """What these requests, none of them cached, would take; prompts are counted by their characters."""
    prompt = sum(one.prompt_tokens() for one in requests)
    completion = sum(one.max_tokens or llm.max_tokens for one in requests)
    return Estimate(len(requests), cached, prompt, completion, cost_of(llm, prompt, completion))


def cost_of(llm: LLM, prompt: int, completion: int) -> float | None:
    """None where the run file names no price."""
    price = llm.price
    if not price.prompt and not price.completion:
        return None
    return (prompt * price.prompt + completion * price.completion) / 1e6


class Meter:
    """Tokens spent by one run, over all that it asks, under the caps of its section `llm:`.

    A request is let go only if what was spent, what is in flight at its worst and itself stay below the cap.
    """

    def __init__(self, llm: LLM) -> None:
        self.llm, self.prompt, self.completion, self.requests = llm, 0, 0, 0
        self._lock, self._flying = threading.Lock(), {"prompt": 0, "completion": 0}

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion

    @property
    def cost(self) -> float | None:
        return cost_of(self.llm, self.prompt, self.completion)

    def check(self, needed: Estimate) -> None:
        """Raise ResourceError before the first request, where the prompts alone would pass a cap."""
        self._fits(needed.prompt_tokens, 0, f"these prompts alone have about {needed.prompt_tokens:,} tokens")

    def reserve(self, request: Request) -> tuple[int, int]:
        """Room for a request; ResourceError where it could pass a cap. Hand the result to `settle`."""
        room = request.prompt_tokens(), request.max_tokens or self.llm.max_tokens
        with self._lock:
            self._fits(room[0] + self._flying["prompt"], room[1] + self._flying["completion"],
                       "the next request could pass it")  # fmt: skip
            self._flying["prompt"] += room[0]
            self._flying["completion"] += room[1]
        return room

    def settle(self, room: tuple[int, int], prompt: int, completion: int) -> None:
        """Turn room into tokens that were used."""
        with self._lock:
            self._flying["prompt"] -= room[0]
            self._flying["completion"] -= room[1]
            self.prompt, self.completion = self.prompt + prompt, self.completion + completion
            self.requests += 1

    def _fits(self, prompt: int, completion: int, why: str) -> None:
        llm = self.llm
        tokens = self.tokens + prompt + completion
        cost = cost_of(llm, self.prompt + prompt, self.completion + completion)
        for name, cap, worst in (
            ("max_tokens_total", llm.max_tokens_total, tokens),
            ("max_cost", llm.max_cost, cost),
        ):
            if cap is not None and worst is not None and worst > cap:
                raise ResourceError(
                    f"the cap of {cap:,} is reached: {why}, after {self.requests:,} requests and "
                    f"{self.tokens:,} tokens",
                    where=f"llm.{name}", mend="Raise it and run again: what was answered is kept, and not asked again",
                )  # fmt: skip
