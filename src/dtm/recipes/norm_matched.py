"""Vanilla fine-tuning, shrunk until it is as far from the base as Disperse-Then-Merge is.

    theta = theta_0 + a (theta_vanilla - theta_0)        a = |theta_dtm - theta_0| / |theta_vanilla - theta_0|

The control for the plainest explanation of a merge's gain, that averaging shortens the update: the interpolation is
WiSE-FT's, Wortsman et al., arXiv:2109.01903. It is charged with both trainings.
"""

from __future__ import annotations

from typing import Any

from dtm.foundations.registry import registry


@registry("recipe").register("norm_matched", paper="arXiv:2109.01903")
def norm_matched(run: Any, config: Any) -> Any:
    """Vanilla fine-tuning interpolated to the update norm of the sub-models' merge."""
    examples = run.load(config.data)
    portions = run.disperse(config.disperse, examples)
    submodels = run.train_each(config.train, config.base, portions)
    vanilla = run.train(config.train, config.base, examples)
    merged = run.merge(config.merge, config.base, submodels, portions)
    alpha = run.update_norm(merged) / run.update_norm(vanilla)
    line = config.merge.using("wise_ft", alpha=alpha)
    matched = run.merge(line, config.base, [vanilla], name="norm_matched")
    return run.charge(matched, [vanilla, merged])
