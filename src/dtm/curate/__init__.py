"""Curating: which rows are worth training on. One file a method.

    curate(examples_N, count, seed, *, what it needs, settings) -> Choice

`count` is how many rows to keep. A method `needs` arrays over the rows, by name: `loss` and `alone`, a model's loss on
the response with and without its instruction; `tokens`; `embedding`; `complexity` and `quality`, scorers' numbers. Its
property `count` says whether it takes `fraction` or `rows`: `needed` (as a rule), `optional` or `none`.
"""

from dtm.curate import (  # noqa: F401 - registers the methods
    deita,
    ifd,
    k_center,
    longest,
    near_duplicates,
    perplexity,
    random,
    superfiltering,
)
from dtm.curate.choosing import Choice, count_of

__all__ = ["Choice", "count_of"]
