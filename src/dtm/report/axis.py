"""Axes: round tick values, and where a value stands between the ends, in percent."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high` with ticks at round values in it."""

    low: float
    high: float
    ticks: list[float]

    def place(self, value: float) -> float:
        """Percent of the way from low to high, clipped to [0, 100], two decimals."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)


def axis(
    values: Iterable[float | None],
    *,
    wanted: int = 5,
    include: tuple[float, ...] = (),
    margin: float = 0.04,
    least: float = 1.0,
) -> Axis:
    """An axis that holds all values with `margin` of its width to spare; ticks stand at round values in it.

    An `include`d value at an end is that end, without a margin. One value or none
    still gives a width: a tenth of it, or `least` about zero.
    """
    known = [value for value in values if value is not None and math.isfinite(value)] + list(include)
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        pad = abs(low) * 0.1 or least
        low, high = low - pad, high + pad
    spare, step = margin * (high - low), round_step((high - low) / wanted)
    low, high = low - spare * (low not in include), high + spare * (high not in include)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, [tidy(number * step) for number in range(first, last + 1)])


def round_step(raw: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below `raw`."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))


def tidy(value: float) -> float:
    """Without the dust of binary fractions: 0.30000000000000004 is 0.3."""
    return float(f"{value:.10g}") + 0.0


def label(value: float) -> str:
    """A tick's text: no more digits than it has, thousands short, small ones with an exponent."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}".replace("-", "−")
    if 0 < abs(value) < 1e-3:
        digits, exponent = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(exponent)}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")
