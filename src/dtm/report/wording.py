"""Numbers as people read them: scores, intervals, differences, counts, times."""

from __future__ import annotations

MISSING = "–"
MINUS = "−"
LOWER_IS_BETTER = ("perplexity", "loss", "bits_per_byte", "error", "nll")


def lower_is_better(metric: str) -> bool:
    return any(word in metric.lower() for word in LOWER_IS_BETTER)


def is_share(metric: str) -> bool:
    """Whether a metric is a share of items, in [0, 1], shown in percent: all but losses and perplexities."""
    return not lower_is_better(metric) or "error" in metric.lower()


def score(value: float | None, metric: str) -> str:
    """`0.4125` of a share is `41.2` (percent); another metric has four significant digits."""
    if value is None:
        return MISSING
    return _minus(f"{100 * value:.1f}" if is_share(metric) else f"{value:.4g}")


def signed(value: float | None, metric: str) -> str:
    """A difference with its sign: `+2.1` (points) for a share."""
    if value is None:
        return MISSING
    text = f"{100 * value:+.1f}" if is_share(metric) else f"{value:+.3g}"
    return "0.0" if text in ("+0.0", "-0.0") else _minus(text)


def interval(low: float | None, high: float | None, metric: str, *, sign: bool = False) -> str:
    """`[36.1, 46.4]`, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    write = signed if sign else score
    return f"[{write(low, metric)}, {write(high, metric)}]"


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


def _minus(text: str) -> str:
    return text.replace("-", MINUS)
