"""Sections of a run file that only some recipes read: one for each verb that those call."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Keys that are checked strictly: an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Named(Section):
    """A method's name, the settings that all methods share, and the method's own as extra keys."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    method: str

    @property
    def own(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Fisher(Section):
    """Of the base, for methods that need it: on so many `rows` of `data` (entries as of the run file's), by default of
    those that are trained on; with labels that the base itself draws, or with those that are given.
    """

    rows: int = Field(default=64, ge=1)
    labels: Literal["drawn", "given"] = "drawn"
    data: list[dict[str, Any]] | None = Field(default=None, min_length=1)


class Regularise(Named):
    """What holds a training near the model that it starts from."""

    method: str = "l2_to_base"
    fisher: Fisher | None = None


class Curate(Named):
    """Which rows are trained on: a `fraction` or so many `rows` of `sources` (of all, if none is named).

    `embedder`, `on`, `dimensions`: for methods that work on embeddings. `model`: what measures the rows where the
    base should not.
    """

    method: str = "random"
    fraction: float | None = Field(default=None, gt=0, le=1)
    rows: int | None = Field(default=None, ge=1)
    sources: list[str] = []
    model: str | None = None
    embedder: str | dict[str, Any] = "tfidf"
    on: Literal["instruction", "response", "both"] = "both"
    dimensions: int = Field(default=256, ge=2)


class Augment(Named):
    """New rows made of rows, each in the family of the row that it was made of."""

    method: str = "demorecon"


class Sample(Section):
    """How a model answers the rows' questions: transformers' GenerationConfig's names, and which rows.

    `direct` asks for the answer alone, where a pair rule wants that as well; `batch_size` is in questions.
    """

    num_return_sequences: int = Field(default=5, ge=1)
    temperature: float = Field(default=0.7, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    max_new_tokens: int = Field(default=256, ge=1)
    sources: list[str] | None = None
    limit: int | None = Field(default=None, ge=1)
    direct: str = "Give the final answer only, without any explanation."
    batch_size: int = Field(default=32, ge=1)


class Pair(Named):
    """A pair rule. `answer` reads the final answer off a response: an extractor's name, {method: ..., ...}, or one for
    each source. `gold` names the field of the row that holds the right answer; left out, its last turn does.
    """

    method: str = "correct_vs_wrong"
    answer: str | dict[str, Any] = "exact"
    gold: str | None = None


class Prefer(Section):
    """`args`: trl's DPOConfig. Adapters are as in `train.lora`."""

    args: dict[str, Any] = {}
