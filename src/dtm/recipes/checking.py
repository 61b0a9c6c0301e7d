"""What recipes say of their own settings, beyond what a type and a range can: a registered `check` yields faults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from dtm.foundations.settings import Fault


def increasing(name: str, values: Sequence[float] | None) -> Iterator[Fault]:
    """A list of bounds, where there is one, holds at least one and rises."""
    if values is None:
        return
    if not values:
        yield Fault(name, "an empty list cuts nothing", "Give bounds, or leave it out")
    if any(high <= low for low, high in pairwise(values)):
        yield Fault(name, f"{list(values)} does not rise from bound to bound")
    if name == "quantiles" and any(not 0 < one < 1 for one in values):
        yield Fault(name, f"{list(values)} are not all between 0 and 1")
