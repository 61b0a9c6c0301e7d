"""The verbs of recipes that make rows or preferences: sample, pair, prefer, augment and their kin. `Run` has them."""

from __future__ import annotations

from typing import Any

from dtm.foundations.types import Model
from dtm.pipeline import augmenting, demonstrating, preferring
from dtm.pipeline.rows import Rows


class PreferenceVerbs:
    """What `verbs.Run` inherits; `self` is such a run."""

    def demonstrate(self: Any, examples: Rows) -> Rows:
        """The examples, answered by the run file's `llm:` wherever that reaches their own final answer."""
        return demonstrating.demonstrate(self, examples)

    def sample(self: Any, section: Any, model: Model, examples: Rows) -> preferring.Rollouts:
        """What the model answers to the examples' questions, several times each, by `config.sample` or the like."""
        self._stop_after("train")
        return preferring.sample(self, section, model, examples)

    def pair(self: Any, section: Any, rollouts: preferring.Rollouts) -> preferring.Pairs:
        """Pairs of answers, one preferred to the other, by a section such as `config.pair`."""
        return preferring.pair(self, section, rollouts)

    def chosen(self: Any, pairs: preferring.Pairs) -> Rows:
        """The distinct preferred answers, as rows to train on."""
        return preferring.chosen(self, pairs)

    def in_place(self: Any, pairs: preferring.Pairs, rows: Rows) -> Any:
        """A section for `train`: fine-tuning on the rows that costs what sampling and the preference step cost."""
        return preferring.in_place(self, pairs, rows)

    def prefer(
        self: Any, model: Model, pairs: preferring.Pairs, *, name: str, shuffled: bool = False
    ) -> Model:
        """The model after DPO on the pairs by `config.prefer`, itself the reference; `shuffled` is a control."""
        self._stop_after("train")
        return preferring.prefer(self, model, pairs, name, shuffled)

    def augment(
        self: Any, section: Any, examples: Rows, *, method: str | None = None, most: int | None = None
    ) -> augmenting.Augmented:
        """The examples with new rows made of them, by a section such as `config.augment`, at most so many.

        Another `method` takes those of the section's settings that it has.
        """
        return augmenting.augment(self, section, examples, method or section.method, most)

    def set_aside(self: Any, examples: Rows, share: float) -> tuple[Rows, Rows]:
        """The examples in two, families whole: the rest, and a share of them."""
        return augmenting.set_aside(self, examples, share)

    def with_more(self: Any, examples: Rows, more: Rows, count: int) -> Rows:
        """The examples, and so many of other ones."""
        return augmenting.with_more(self, examples, more, count)

    def contrast(self: Any, augmented: augmenting.Augmented) -> preferring.Pairs:
        """Pairs of a row's response and that of its variant, each preferred under its own instruction."""
        return augmenting.contrast(self, augmented)
