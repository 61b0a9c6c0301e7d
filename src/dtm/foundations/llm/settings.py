"""The section `llm:` of a run file: which model answers, how it is asked, and what it may cost."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Price(BaseModel):
    """What the endpoint charges for a million tokens, in any currency."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    prompt: float = Field(default=0, ge=0)
    completion: float = Field(default=0, ge=0)


class LLM(BaseModel):
    """Who answers: `openai`, an endpoint of that interface; `hf`, a local model in this process; `rules`, no LLM.

    `temperature: null` leaves it to the endpoint. `revision` is any text that tells apart two models of one name.
    `max_tokens_total` and `max_cost` end a run that would spend more; a rerun goes on with what was answered.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    kind: Literal["openai", "hf", "rules"] = "openai"
    model: str
    revision: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    concurrency: int = Field(default=8, ge=1, le=1024)
    batch_size: int = Field(default=8, ge=1)
    timeout: float = Field(default=120, gt=0)
    retries: int = Field(default=6, ge=0)
    repairs: int = Field(default=2, ge=0)
    temperature: float | None = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)
    structured: Literal["json_schema", "json_object", "prompt"] = "json_schema"
    extra_body: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    price: Price = Price()
    max_tokens_total: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, gt=0)
