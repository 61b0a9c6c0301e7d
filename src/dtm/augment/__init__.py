"""New rows made of rows: each knows its parent, and belongs to its family, so that no split parts them.

    augment(examples_N, generate, seed, *, settings) -> Augmented

`generate` is the model that writes, or None where rules do.
"""

from dtm.augment import demorecon, paraphrase  # noqa: F401 - registers the methods
from dtm.augment.rows import Augmented

__all__ = ["Augmented"]
