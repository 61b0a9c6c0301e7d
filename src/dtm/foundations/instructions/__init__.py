"""Instructions whose following can be checked by rule: a registry of checks, `(response, *, settings) -> bool`.

The names, settings and meanings are those of IFEval (Zhou et al. 2023, arXiv:2311.07911), so that its data set
binds to them. Where its text leaves a choice (what is a word, a sentence), ours is in `words`.
"""

from dtm.foundations.instructions import form, keywords, length, shape  # noqa: F401 - registers the checks
from dtm.foundations.instructions.following import bind, followed, followed_loosely

__all__ = ["bind", "followed", "followed_loosely"]
