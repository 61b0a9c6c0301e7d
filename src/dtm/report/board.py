"""Scores and paired differences by task: what the page, the terminal and the statement all read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dtm.report.wording import is_share, lower_is_better

ALPHA = 0.05  # of Holm's corrected p


@dataclass(frozen=True)
class Score:
    """A value with its 95% interval; any of them may be None."""

    value: float | None
    low: float | None
    high: float | None
    n: int | None = None


@dataclass(frozen=True)
class Difference:
    """The subject's score minus another model's on the same items, and what may be said of it."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n: int | None
    verdict: str  # better | worse | open (tested, nothing shown) | untested


@dataclass(frozen=True)
class Row:
    """One task in one prompt format, on its primary metric."""

    task: str
    format: str
    metric: str
    kind: str
    n: int | None
    chance: float | None
    source: str
    scores: dict[str, Score]
    differences: dict[str, Difference]

    @cached_property
    def is_share(self) -> bool:
        """Whether its scores are shares of items, shown in percent."""
        return is_share(self.metric, (score.value for score in self.scores.values()))


@dataclass(frozen=True)
class Mean:
    """Means over the tasks of one prompt format that every shown model has a share for."""

    format: str
    tasks: int
    scores: dict[str, Score]
    differences: dict[str, Score]


@dataclass(frozen=True)
class Board:
    """Tasks as rows; `shown` models as columns, `subject` compared with each of `against`."""

    rows: list[Row]
    means: list[Mean]
    models: dict[str, dict[str, Any]]
    shown: list[str]
    subject: str | None
    against: list[str]

    @property
    def several_formats(self) -> bool:
        return len({row.format for row in self.rows}) > 1

    def of_role(self, role: str) -> list[str]:
        return [name for name, model in self.models.items() if model["role"] == role]


def board(results: dict[str, Any]) -> Board:
    """Arrange completed results (`schema.complete`); the subject is the merged model or the last baseline."""
    block = results["results"]
    models = {model["name"]: model for model in block["models"]}
    roles = {role: [name for name, model in models.items() if model["role"] == role]
             for role in ("base", "baseline", "merged", "submodel")}  # fmt: skip
    finished = roles["merged"][-1:] or roles["baseline"][-1:]
    subject = finished[0] if finished else None
    against = [name for name in roles["base"] + roles["baseline"] if name != subject]
    shown = roles["base"] + roles["baseline"] + roles["merged"]
    rows = [_row(task, block, subject, against) for task in _tasks(block)]
    scored = {name for row in rows for name in row.scores}
    shown = [name for name in shown if name in scored]
    compared = {name for row in rows for name in row.differences}
    against = [name for name in against if name in compared]
    means = [_mean(group, shown, against) for group in _by_format(rows)]
    return Board(rows, [mean for mean in means if mean.tasks > 1], models, shown, subject, against)


def mean_of(scores: Sequence[Score]) -> Score:
    """The mean of independent estimates, its interval recovered from theirs.

    low = mean - sqrt(sum (value_i - low_i)^2) / N, high alike: MOVER, Zou and Donner,
    Statistics in Medicine 27 (2008) 1693-1702. Without an interval for each there is none for the mean.
    """
    values = [score.value for score in scores]
    if not values or any(value is None for value in values):
        return Score(None, None, None)
    mean = math.fsum(values) / len(values)  # type: ignore[arg-type]
    if any(score.low is None or score.high is None for score in scores):
        return Score(mean, None, None)
    below = math.hypot(*(score.value - score.low for score in scores))  # type: ignore[operator]
    above = math.hypot(*(score.high - score.value for score in scores))  # type: ignore[operator]
    return Score(mean, mean - below / len(values), mean + above / len(values))


def _tasks(block: dict[str, Any]) -> list[dict[str, Any]]:
    """The listed tasks, then those that only scores name."""
    tasks = {(task["name"], task["format"] or "raw"): task for task in block["tasks"]}
    for row in block["scores"]:
        key = (row["task"], row["format"] or "raw")
        if key not in tasks:
            tasks[key] = {"name": row["task"], "format": row["format"], "metric": None, "kind": None,
                          "n": row["n"], "chance": None, "source": None}  # fmt: skip
    return list(tasks.values())


def _row(task: dict[str, Any], block: dict[str, Any], subject: str | None, against: list[str]) -> Row:
    name, form = task["name"], task["format"] or "raw"
    rows = [row for row in block["scores"] if row["task"] == name and (row["format"] or "raw") == form]
    primary = [row["metric"] for row in rows if row["primary"]] or [row["metric"] for row in rows]
    metric = task["metric"] or (primary[0] if primary else "")
    scores = {row["model"]: Score(row["value"], row["low"], row["high"], row["n"])
              for row in rows if row["metric"] == metric}  # fmt: skip
    differences = {}
    for row in block["comparisons"]:
        if (row["task"], row["format"] or "raw", row["metric"]) != (name, form, metric):
            continue
        if row["a"] == subject and row["b"] in against:
            differences[row["b"]] = _difference(row, metric, 1)
        elif row["b"] == subject and row["a"] in against:
            differences[row["a"]] = _difference(row, metric, -1)
    return Row(name, form, metric, task["kind"] or "", task["n"], task["chance"], task["source"] or "",
               scores, differences)  # fmt: skip


def _difference(row: dict[str, Any], metric: str, sign: int) -> Difference:
    value, low, high = (
        None if row[key] is None else sign * row[key] for key in ("difference", "low", "high")
    )
    if sign < 0:
        low, high = high, low
    if row["p_holm"] is None or value is None:
        verdict = "untested"
    elif row["p_holm"] >= ALPHA or value == 0:
        verdict = "open"
    else:
        verdict = "better" if (value > 0) != lower_is_better(metric) else "worse"
    return Difference(value, low, high, row["p"], row["p_holm"], row["n"], verdict)


def _by_format(rows: list[Row]) -> list[list[Row]]:
    forms = dict.fromkeys(row.format for row in rows)
    return [[row for row in rows if row.format == form] for form in forms]


def _mean(rows: list[Row], shown: list[str], against: list[str]) -> Mean:
    full = [row for row in rows if row.is_share and all(
        name in row.scores and row.scores[name].value is not None for name in shown)]  # fmt: skip
    scores = {name: mean_of([row.scores[name] for row in full]) for name in shown}
    differences = {}
    for name in against:
        pairs = [row.differences[name] for row in full if name in row.differences]
        if pairs and len(pairs) == len(full):
            differences[name] = mean_of([Score(pair.value, pair.low, pair.high) for pair in pairs])
    return Mean(rows[0].format, len(full), scores, differences)
