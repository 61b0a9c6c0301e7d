"""What a run shows and what it does not, in plain sentences: never more than was measured."""

from __future__ import annotations

import statistics
from pathlib import PurePath
from typing import Any

from dtm.report.board import ALPHA, Board, Difference, board
from dtm.report.schema import complete
from dtm.report.wording import count, listing, loss, plural

MATCHED = 0.05  # trained tokens within 5% of each other count as the same compute


def statement(results: dict[str, Any]) -> list[str]:
    """The first sentence says what was run and what came out; the others what that rests on, and its limits.

    `results` need not be complete; its own field `statement` is not read.
    """
    results = complete(results)
    scores = board(results)
    if scores.subject is None:
        return [_unfinished(results)]
    lines = [_headline(results, scores)]
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
    run, kept = results["run"], results["data"]["kept"]
    base = PurePath(run["base"]).name if run["base"] else "The base model"
    portions = f" in {plural(run['k'], 'portion')}" if run["k"] and run["k"] > 1 else ""
    rows = f" on {plural(kept, 'row')}" if kept is not None else ""
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
    better, worse = _having(differences, "better"), _having(differences, "worse")
    total, name = _tasks(len(differences), scores), _called(scores, other)
    if not better and not worse:
        return f"not shown to differ from {name} on any of {total}"
    if better and worse:
        return f"better than {name} on {len(better)} and worse on {len(worse)} of {total}"
    return f"{'better' if better else 'worse'} than {name} on {len(better or worse)} of {total}"


def _comparison(scores: Board, other: str) -> list[str]:
    """How many tasks differ after correction, and in which direction."""
    differences = _differences(scores, other)
    tested = [pair for pair in differences.values() if pair.verdict != "untested"]
    title, lines = f"{scores.subject} against {other}:", []
    if tested:
        found = {word: _having(differences, word) for word in ("better", "worse", "open")}
        shown = found["better"] or found["worse"]
        parts = [f"{word} on {_named(found[word])}" for word in ("better", "worse") if found[word]]
        if found["open"]:
            parts.append(f"no difference is shown on {len(found['open']) if shown else 'any'}")
        answers = plural(sum(pair.n or 0 for pair in tested), "paired answer")
        lines.append(
            f"{title} of {_tasks(len(tested), scores)} ({answers}), {listing(parts)}; paired tests, "
            f"p < {ALPHA} after Holm's correction over all comparisons of the run."
        )
    if untested := len(differences) - len(tested):
        lines.append(f"{title} {_tasks(untested, scores)} could not be tested; nothing is claimed on them.")
    return lines


def _resolution(scores: Board) -> list[str]:
    """No difference shown is not no difference: how large a one these items let us see."""
    pairs = [pair for row in scores.rows if row.is_share for pair in row.differences.values()]
    halves = [(pair.high - pair.low) / 2 for pair in pairs if pair.low is not None and pair.high is not None]
    if not halves or not any(pair.verdict == "open" for pair in pairs):
        return []
    typical = f"{100 * statistics.median(halves):.1f} points"
    return [
        "No difference shown is not the same as no difference: the 95% intervals typically reach "
        f"{typical} to either side, and smaller effects would mostly go unseen."
    ]


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
    lost = sum(source["dropped"] or 0 for source in results["data"]["sources"])
    if lost:
        lines.append(
            f"{plural(lost, 'row')} could not be used and {'was' if lost == 1 else 'were'} left out."
        )
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
