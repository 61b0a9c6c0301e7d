"""What a run shows and what it does not, in plain sentences: never more than was measured."""

from __future__ import annotations

import statistics
from pathlib import PurePath
from typing import Any

from dtm.report.board import ALPHA, Board, Difference, board
from dtm.report.dropping import dropped
from dtm.report.schema import complete
from dtm.report.wording import count, listing, loss, plural

MATCHED = 0.05  # trained tokens within 5% of each other count as the same compute


def statement(results: dict[str, Any]) -> list[str]:
    """The first sentence says what was run and what came out; the others what that rests on, and its limits.

    `results` need not be complete; its own field `statement` is not read.
    """
    results = complete(results)
    scores = board(results)
    missing = dropped(results["dropped"], results["run"]["k"])
    if scores.subject is None:
        return [_unfinished(results), *missing]
    lines = [_headline(results, scores), *missing]
    for other in scores.against:
        lines += _comparison(scores, other) + _compute(scores, other)
    lines += _resolution(scores)
    lines += _heldout(results, scores)
    lines += _limits(results, scores)
    return lines


def _unfinished(results: dict[str, Any]) -> str:
    recipe = results["run"]["recipe"]
    return f"This run{f' of {recipe}' if recipe else ''} has no finished model, so nothing is shown about quality."


def _headline(results: dict[str, Any], scores: Board) -> str:
    run, data = results["run"], results["data"]
    trained = data["kept"] if data["train"] is None else data["train"]
    base = PurePath(run["base"]).name if run["base"] else "The base model"
    portions = f" in {plural(run['k'], 'portion')}" if run["k"] and run["k"] > 1 else ""
    rows = f" on {plural(trained, 'row')}" if trained is not None else ""
    spent = scores.models[scores.subject or ""]["tokens"]
    tokens = f" ({count(spent)} trained tokens)" if spent else ""
    text = f"{base} was instruction-tuned by {run['recipe'] or 'this run'}{portions}{rows}{tokens}"
    if not scores.rows:
        return f"{text}; no task was evaluated, so nothing is shown about its quality."
    if not scores.against:
        tasks = _tasks(len(scores.rows), scores)
        return f"{text} and scored on {tasks}; nothing was compared, so no difference is shown."
    outcomes = [_outcome(scores, other) for other in scores.against]
    return f"{text}: the {_kind(scores)} is {'; it is '.join(outcomes)}."


def _outcome(scores: Board, other: str) -> str:
    differences = _differences(scores, other)
    better, worse = len(_having(differences, "better")), len(_having(differences, "worse"))
    name, total = _called(scores, other), len(differences)
    if total == 1:
        found = "better than" if better else "worse than" if worse else "not shown to differ from"
        return f"{found} {name} on the one task"
    tasks = _tasks(total, scores)
    if not better and not worse:
        return f"not shown to differ from {name} on any of {tasks}"
    if better and worse:
        return f"better than {name} on {better} and worse on {worse} of {tasks}"
    return f"{'better' if better else 'worse'} than {name} on {better or worse} of {tasks}"


def _comparison(scores: Board, other: str) -> list[str]:
    """How many tasks differ after correction, and in which direction."""
    differences = _differences(scores, other)
    found = {word: _having(differences, word) for word in ("better", "worse", "open", "untested")}
    tested, lines = len(differences) - len(found["untested"]), []
    if tested:
        answers = sum(pair.n or 0 for pair in differences.values() if pair.verdict != "untested")
        parts = [f"{word} on {_named(found[word])}" for word in ("better", "worse") if found[word]]
        if found["open"]:
            parts.append(f"no difference shown on {len(found['open'])}")
        lines.append(
            f"{scores.subject} against {other}, {_tasks(tested, scores)}, {plural(answers, 'paired answer')}: "
            f"{listing(parts)}. Paired tests, p < {ALPHA} after Holm's correction over all comparisons of the run."
        )
    if found["untested"]:
        untested = _tasks(len(found["untested"]), scores)
        lines.append(
            f"{scores.subject} against {other}: {untested} without a test, so that nothing is claimed there."
        )
    return lines


def _resolution(scores: Board) -> list[str]:
    """No difference shown is not no difference: how large a one these items let us see."""
    pairs = [pair for row in scores.rows if row.is_share for pair in row.differences.values()]
    halves = [half for pair in pairs if (half := _half_width(pair)) is not None]
    if not halves or not any(pair.verdict == "open" for pair in pairs):
        return []
    typical = f"{100 * statistics.median(halves):.1f} points"
    return [
        "No difference shown is not the same as no difference: the 95% intervals typically reach "
        f"{typical} to either side, and smaller effects would mostly go unseen."
    ]


def _half_width(pair: Difference) -> float | None:
    """Half of the interval; where no item told the models apart a bootstrap has no width, and 3 / n bounds it.

    The rule of three: Hanley and Lippman-Hand, JAMA 249 (1983) 1743-1745.
    """
    if pair.low is None or pair.high is None:
        return None
    return (pair.high - pair.low) / 2 or (min(3 / pair.n, 1.0) if pair.n else None)


def _compute(scores: Board, other: str) -> list[str]:
    """Whether the two models had the same compute; a base had none, which needs no saying."""
    a, b = scores.models[scores.subject or ""], scores.models[other]
    if b["role"] == "base":
        return []
    if not a["tokens"] or not b["tokens"]:
        return [f"The compute of {a['name']} and {b['name']} is not known to be the same."]
    ratio = a["tokens"] / b["tokens"]
    spent = f"{count(a['tokens'])} and {count(b['tokens'])} trained tokens"
    if max(ratio, 1 / ratio) <= 1 + MATCHED:
        return [f"{a['name']} and {b['name']} had the same compute within {100 * MATCHED:g}% ({spent})."]
    more = a["name"] if ratio > 1 else b["name"]
    return [f"The compute of {a['name']} and {b['name']} is not matched ({spent}): {more} had "
            f"{max(ratio, 1 / ratio):.2g} times as much, which may explain a difference."]  # fmt: skip


def _heldout(results: dict[str, Any], scores: Board) -> list[str]:
    rows = {row["model"]: row for row in results["results"]["heldout"] if row["source"] == "all"}
    own = rows.get(scores.subject or "")
    others = [rows[name] for name in scores.of_role("base") + scores.of_role("baseline")
              if name in rows and name != scores.subject]  # fmt: skip
    if own is None or own["loss"] is None or not others:
        return []
    parts = [f"{loss(row['loss'])} {_bounds(row)}for {row['model']}" for row in others]
    return [f"Held-out response loss, nats a token: {loss(own['loss'])} {_bounds(own)}for {own['model']}, "
            f"{listing(parts)}; lower is a better fit to this data, not a better model."]  # fmt: skip


def _limits(results: dict[str, Any], scores: Board) -> list[str]:
    seed = results["run"]["seed"]
    named = f" ({seed})" if seed is not None else ""
    lines = []
    if scores.against:
        lines.append(f"One seed{named}: what is shown holds for these weights; no claim about the method.")
    if scores.against and not scores.of_role("baseline"):
        lines.append(
            "No baseline was trained on the same data, so nothing here says that merging was what helped."
        )
    sources = results["data"]["sources"]
    lost = sum(source["dropped"] or 0 for source in sources)
    twice = sum(source["duplicates"] or 0 for source in sources)
    if lost:
        these = f", {twice:,} of them {'a duplicate' if twice == 1 else 'duplicates'}" if twice else ""
        lines.append(f"{plural(lost, 'row')} {'was' if lost == 1 else 'were'} left out{these}.")
    return lines


def _differences(scores: Board, other: str) -> dict[str, Difference]:
    """By task; the prompt format is named where there is more than one."""
    return {
        f"{row.task} ({row.format})" if scores.several_formats else row.task: row.differences[other]
        for row in scores.rows
        if other in row.differences
    }


def _having(differences: dict[str, Difference], verdict: str) -> list[str]:
    return [task for task, pair in differences.items() if pair.verdict == verdict]


def _tasks(number: int, scores: Board) -> str:
    if scores.several_formats:
        return f"{number} pairs of task and prompt format"
    return plural(number, "task")


def _named(tasks: list[str]) -> str:
    return f"{len(tasks)} ({listing(tasks)})" if len(tasks) <= 4 else str(len(tasks))


def _kind(scores: Board) -> str:
    return "merged model" if scores.models[scores.subject or ""]["role"] == "merged" else "trained model"


def _called(scores: Board, name: str) -> str:
    return "its base" if scores.models[name]["role"] == "base" else name


def _bounds(row: dict[str, Any]) -> str:
    if row["low"] is None or row["high"] is None:
        return ""
    return f"[{loss(row['low'])}, {loss(row['high'])}] "
