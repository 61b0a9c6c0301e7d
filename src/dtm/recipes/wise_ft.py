"""WiSE-FT: between the base and its vanilla fine-tuned model, in a straight line.

Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv:2109.01903. Without anything to choose on they
recommend alpha = 0.5.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from dtm.foundations.registry import registry
from dtm.foundations.settings import Each, Within

GRID = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


@registry("recipe").register("wise_ft", paper="arXiv:2109.01903", chooses="alpha")
def wise_ft(
    run: Any,
    config: Any,
    *,
    alpha: Annotated[float | Literal["dev"], Within(0, 1)] = 0.5,
    grid: Annotated[list[float], Each(Within(0, 1))] = GRID,
) -> Any:
    """The point at `alpha` from the base (0) to the vanilla model (1), or the best of a grid on dev."""
    trained = run.train(config.train, config.base, run.load(config.data))

    def point(at: float, name: str) -> Any:
        return run.merge(config.merge.using("wise_ft", alpha=at), config.base, [trained], name=name)

    if alpha != "dev":
        return point(alpha, "wise_ft")
    return run.select([point(at, f"wise_ft@{at:g}") for at in grid], on="dev", name="wise_ft")
