"""From per-item results to tables: scores with intervals, and paired comparisons of models."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dtm.foundations import statistics
from dtm.foundations.errors import DataError, MissingInput
from dtm.foundations.seeds import derive

Items = Sequence[Mapping[str, Any]]
Metrics = Mapping[str, Sequence[str]]
Results = Mapping[str, Mapping[str, Items]]  # model -> task -> items, as `read_items` gives them
PRIMARY = ("acc", "exact_match", "acc_norm")  # in this order; else the first by name


def read_items(folder: Path) -> list[dict[str, Any]]:
    """The items that `evaluate` or `response_loss` wrote into a folder."""
    path = Path(folder) / "items.jsonl"
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError:
        raise MissingInput("there are no per-item results", where=path) from None


def score_table(
    results: Results, metrics: Metrics | None = None, *, seed: int = 0, level: float = 0.95
) -> list[dict[str, Any]]:
    """One row a model, task and metric: {model, task, metric, primary, value, n, low, high}.

    `metrics` is `Task.metrics` by task: the first is the primary one; without it accuracy or exact match.
    Wilson's interval for metrics that are 0 or 1 on every item, the percentile bootstrap over items for
    others. A mean log likelihood brings the perplexity exp(-mean) with it, its interval mapped.
    """
    rows = []
    for model, tasks in results.items():
        for task, items in tasks.items():
            main = primary_metric(items, (metrics or {}).get(task, ()))
            for metric in metrics_of(items):
                values = _values(items, metric)
                low, high = _interval(values, derive(seed, "score", task, metric), level)
                value = math.fsum(values) / len(values)
                row = {
                    "model": model,
                    "task": task,
                    "metric": metric,
                    "primary": metric == main,
                    "n": len(values),
                }
                rows.append({**row, "value": value, "low": low, "high": high})
                if metric == "loglikelihood":
                    row = {**row, "metric": "perplexity", "primary": False}
                    rows.append(
                        {**row, "value": math.exp(-value), "low": math.exp(-high), "high": math.exp(-low)}
                    )
    return rows


def comparisons(
    results: Results,
    metrics: Metrics | None,
    pairs: Sequence[tuple[str, str]],
    *,
    seed: int = 0,
    level: float = 0.95,
) -> list[dict[str, Any]]:
    """Paired comparisons of models (a, b) on the primary metric of each task that both answered.

    Rows are {task, metric, a, b, difference, low, high, p, p_holm, only_a, only_b, n}: the mean of a - b
    and its paired bootstrap interval; McNemar's exact p where values are 0 or 1, the sign-flip test's
    otherwise (then `only_a` and `only_b` are None); `p_holm` is corrected over all rows. Raises DataError
    where two models did not answer the same items, asked in the same words.
    """
    rows = []
    for a, b in pairs:
        for task in results.get(a, {}):
            if task in results.get(b, {}):
                metric = primary_metric(results[a][task], (metrics or {}).get(task, ()))
                rows.append(_comparison(task, metric, a, b, results[a][task], results[b][task], seed, level))
    return with_holm(rows)


def with_holm(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `p_holm` corrected over all of them; for tables put together from several calls."""
    corrected = statistics.holm([row["p"] for row in rows])
    return [{**row, "p_holm": p} for row, p in zip(rows, corrected, strict=True)]


def metrics_of(items: Items) -> list[str]:
    """Names of the metrics that are a number on every item."""
    if not items:
        raise DataError("a task without items has no score")
    names = set.intersection(*(set(item["metrics"]) for item in items))
    return sorted(
        name for name in names if all(isinstance(item["metrics"][name], int | float) for item in items)
    )


def primary_metric(items: Items, known: Sequence[str] = ()) -> str:
    """The metric that a task is judged by: the first of those known, else accuracy or exact match."""
    names = metrics_of(items)
    if not names:
        raise DataError("no metric of the task is a number on each item")
    return next((name for name in (*known, *PRIMARY) if name in names), names[0])


def _comparison(
    task: str, metric: str, a: str, b: str, items_a: Items, items_b: Items, seed: int, level: float
) -> dict[str, Any]:
    for key, fault, mend in (
        ("doc_id", "did not answer the same items", "Evaluate both with the same file and limit"),
        ("prompt", "were not asked in the same words", "Evaluate both in the same format, with one template"),
    ):
        if [item.get(key) for item in items_a] != [item.get(key) for item in items_b]:
            raise DataError(f"{a!r} and {b!r} {fault}", where=task, mend=mend)
    values_a, values_b = _values(items_a, metric), _values(items_b, metric)
    difference, low, high = statistics.paired_bootstrap(
        values_a, values_b, derive(seed, "comparison", task, metric), level
    )
    only_a = only_b = None
    if set(values_a) | set(values_b) <= {0, 1}:
        only_a, only_b, p = statistics.mcnemar(values_a, values_b)
    else:
        p = statistics.sign_flip(values_a, values_b, derive(seed, "sign_flip", task, metric))
    return {"task": task, "metric": metric, "a": a, "b": b, "difference": difference, "low": low, "high": high,
            "p": p, "only_a": only_a, "only_b": only_b, "n": len(values_a)}  # fmt: skip


def _values(items: Items, metric: str) -> list[float]:
    return [float(item["metrics"][metric]) for item in items]


def _interval(values: list[float], seed: int, level: float) -> tuple[float, float]:
    if set(values) <= {0.0, 1.0}:
        return statistics.wilson(int(sum(values)), len(values), level)
    return statistics.bootstrap_mean(values, seed, level)
