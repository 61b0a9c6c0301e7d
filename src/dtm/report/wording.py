"""Numbers as people read them: scores, intervals, differences, counts, times."""

from __future__ import annotations

import re
from collections.abc import Iterable

MISSING = "–"
MINUS = "−"
LOWER_IS_BETTER = {
    "perplexity",
    "ppl",
    "loss",
    "nll",
    "bits",
    "brier",
    "error",
    "wer",
    "cer",
    "ter",
    "mse",
    "mae",
}
NO_SHARE = LOWER_IS_BETTER | {"loglikelihood", "likelihood", "logprob", "bleu", "chrf", "mcc"}


def lower_is_better(metric: str) -> bool:
    """By the words of the metric's name: `byte_perplexity` is, `acc_norm` is not."""
    return not LOWER_IS_BETTER.isdisjoint(_words(metric))


def is_share(metric: str, values: Iterable[float | None]) -> bool:
    """Whether a metric is a share of items, to be shown in percent: by its name, and all values in [0, 1]."""
    return NO_SHARE.isdisjoint(_words(metric)) and all(value is None or 0 <= value <= 1 for value in values)


def score(value: float | None, share: bool) -> str:
    """`0.4125` of a share is `41.2` (percent); another metric has four significant digits."""
    if value is None:
        return MISSING
    return _minus(f"{100 * value:.1f}" if share else f"{value:.4g}")


def signed(value: float | None, share: bool) -> str:
    """A difference with its sign: `+2.1` (points) for a share."""
    if value is None:
        return MISSING
    text = f"{100 * value:+.1f}" if share else f"{value:+.3g}"
    return _minus(text) if float(text) else text[1:]


def interval(low: float | None, high: float | None, share: bool, *, sign: bool = False) -> str:
    """`[36.1, 46.4]`, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    write = signed if sign else score
    return f"[{write(low, share)}, {write(high, share)}]"


def loss(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """`412332` is `412k`."""
    if value is None:
        return MISSING
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Seconds as `0.3 s`, `3 min 12 s`, `1 h 04 min`."""
    if seconds is None:
        return MISSING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def probability(p: float | None) -> str:
    if p is None:
        return "not tested"
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.0995 else f"p = {p:.2f}"


def plural(number: int, word: str) -> str:
    """`1 task`, `2,000 tasks`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def listing(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def _words(metric: str) -> list[str]:
    return re.findall("[a-z]+", metric.lower())


def _minus(text: str) -> str:
    return text.replace("-", MINUS)
