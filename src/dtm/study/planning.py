"""What a study would do: arms x seeds x grid, what the store holds already, seconds and tokens. Nothing trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtm.pipeline.display import duration
from dtm.study.arms import Point, Trial
from dtm.study.file import Arm
from dtm.study.running import Runner


def plan(runner: Runner) -> dict[str, Any]:
    """Rows of arms with their runs, steps, tokens and seconds, and totals.

    A step that several runs share counts for the first of them alone. Until the grid's runs are done, what it will
    choose is not known, and an arm's own runs are planned at its first point. Seconds are those of one worker;
    `unknown` counts the steps of which no rate is known.
    """
    arms, seen = runner.arms, set[str]()
    rows = []
    for name, arm in arms.by_name.items():
        if runner.only and name not in runner.only:
            continue
        row: dict[str, Any] = {"arm": name, "runs": 0, "tuning": 0, "redo": 0, "reuse": 0, "shared": 0, "tokens": 0,
                               "seconds": 0.0, "unknown": 0}  # fmt: skip
        tuning = arms.grid_trials(arm)
        for trial in tuning:
            _add(row, _steps(runner, trial), seen)
        row["tuning"] = row["runs"]
        for trial in arms.final_trials(arm, _point(runner, arm, row["redo"])):
            _add(row, _steps(runner, trial), seen)
        rows.append(row)
    return {"arms": rows, "totals": _totals(rows), "points": arms.points, "seeds": arms.file.config.seeds}


def _point(runner: Runner, arm: Arm, left: int) -> Point:
    """Where the arm will run: what its grid chose if all of that is in the store, else the first point."""
    decider = runner.arms.tuned_as(arm)
    if decider is None:
        return {}
    known = not left and (decider is arm or decider.name in runner.tuned)
    return (runner.point_of(arm) if known else None) or runner.arms.points[0]


def _steps(runner: Runner, trial: Trial) -> list[dict[str, Any]]:
    from dtm.pipeline import run

    runner.progress.start(trial)
    planned = run(runner.arms.run_file(trial), dry_run=True, quiet=True, launcher=runner.launcher)
    runner.progress.planned()
    return planned["steps"]


def _add(row: dict[str, Any], steps: Sequence[dict[str, Any]], seen: set[str]) -> None:
    row["runs"] += 1
    for step in steps:
        if step["key"] in seen:
            row["shared"] += 1
            continue
        seen.add(step["key"])
        if not step["planned"]:
            row["reuse"] += 1
            continue
        row["redo"] += 1
        row["tokens"] += step["tokens"] or 0
        row["unknown"] += step["seconds"] is None
        row["seconds"] += step["seconds"] or 0.0


def _totals(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum(row[name] for row in rows)
            for name in ("runs", "tuning", "redo", "reuse", "shared", "tokens", "seconds", "unknown")}  # fmt: skip


def show(result: dict[str, Any], console: Any) -> None:
    """The plan as a table with a sentence under it."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("arm", "runs", "tuning", "to do", "stored", "shared", "tokens", "time"):
        first = name == "arm"
        table.add_column(name, justify="left" if first else "right", no_wrap=first, overflow="fold")
    for row in [*result["arms"], {**result["totals"], "arm": "total"}]:
        table.add_row(
            row["arm"], *(f"{row[name]:,}" for name in ("runs", "tuning", "redo", "reuse", "shared", "tokens")),
            _time(row), end_section=row["arm"] == "total",
        )  # fmt: skip
    console.print(table)
    totals, points = result["totals"], len(result["points"])
    grid = f" and {points} points of the grid" if points > 1 else ""
    words = [f"{len(result['arms'])} arms, {len(result['seeds'])} seeds{grid}: {totals['runs']} runs."]
    words.append("`to do`, `stored` and `shared` count steps.")
    if not totals["redo"]:
        words.append("Everything is in the store.")
    if totals["seconds"]:
        words.append(f"About {duration(totals['seconds'])} for one worker.")
    if totals["unknown"]:
        words.append(f"Of {totals['unknown']:,} steps no rate is known yet: the first runs will tell.")
    console.print(" ".join(words))


def _time(row: dict[str, Any]) -> str:
    if not row["redo"]:
        return ""
    known = duration(row["seconds"]) if row["seconds"] else ""
    return f"{known} + ?" if row["unknown"] and known else known or "?"
