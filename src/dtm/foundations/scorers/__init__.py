"""Scorers: how hard each row is, as one number, the higher the harder; NaN where it cannot be told.

    @registry("scorer").register("length", needs=("tokens",))
    def length(examples_N, *, tokens): ...

What a scorer `needs` is computed for it: `loss` and `alone`, the base's loss on the response with and without the
instruction (foundations/signals), `judge` and `rating`, an LLM's two scores each, `tokens`, counts of the rendered
rows.
"""

from dtm.foundations.scorers import field, ifd, judge, length, loss, rating  # noqa: F401 - registers them
from dtm.foundations.scorers.binding import bind_scorer

__all__ = ["bind_scorer"]
