"""`dtm status` of a study's folder: which runs are done, which one works now, and about how long the rest takes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dtm.foundations.errors import MissingInput
from dtm.foundations.yaml import Document, parse
from dtm.pipeline.display import duration
from dtm.pipeline.journal import EVENTS
from dtm.pipeline.opened import Folder, opened
from dtm.pipeline.status import status_of
from dtm.pipeline.watching import COLOURS, Kind
from dtm.pipeline.watching import view as view_run
from dtm.study.arms import Arms, Trial
from dtm.study.file import StudyFile

FORMAT = 1
STATES = ("finished", "failed", "running", "stopped", "waiting")
BETWEEN = 60.0  # seconds that may lie between two runs of a study that works
RECENT = 5  # finished runs that tell how long one takes
Found = dict[str, Any]


def is_study(place: str | os.PathLike[str]) -> bool:
    """Whether a study was begun in that folder."""
    folder = opened(place)
    return folder.read(EVENTS) is None and folder.read("study.yaml") is not None


def status_of_study(place: str | os.PathLike[str], *, now: datetime | None = None) -> Found:
    """The state of every run of a study, as `dtm status --json` prints it. Raises MissingInput where none was begun."""
    folder = opened(place)
    arms = _arms(folder)
    trials = [
        trial
        for arm in arms.by_name.values()
        for trial in (*arms.grid_trials(arm), *arms.final_trials(arm, {}))
    ]
    runs = [_run(folder, arms, trial) for trial in trials]
    states = Counter(run["state"] for run in runs)
    current = next((run["status"] for run in runs if run["state"] == "running"), None)
    finished = [place for place, run in enumerate(runs) if run["state"] == "finished"]
    recent = [status for place in finished[-RECENT:] if (status := _status(folder, arms, trials[place]))]
    state = _state(folder, states, recent, now or datetime.now(UTC))
    rest = len(runs) - states["finished"] - states["failed"]
    left = fmean(one["seconds"] for one in recent) * rest if recent and state == "running" else None
    spent = current["seconds"] if current else 0.0
    updated = [one["updated"] for one in (*recent, current) if one]
    return {
        "format": FORMAT, "kind": "study", "folder": folder.place, "study": arms.file.config.study, "state": state,
        "runs": {"all": len(runs), **{name: states[name] for name in STATES}},
        "updated": max(updated, default=None), "seconds_left": None if left is None else max(0.0, left - spent),
        "arms": [_arm(name, [run for run in runs if run["arm"] == name]) for name in arms.by_name],
        "current": current, "command": next((one["command"] for one in (current, *recent) if one), None),
    }  # fmt: skip


def _arms(folder: Folder) -> Arms:
    text = folder.read("study.yaml")
    if text is None:
        raise MissingInput("no study was begun here", where=folder.place, mend="Name a study's output_dir")
    values = parse(text.decode("utf-8")).values
    return Arms(StudyFile(Document(values), Document(values), "run"))


def _place(folder: Folder, arms: Arms, trial: Trial) -> str:
    return f"{folder.place}/{arms.folder(trial).relative_to(arms.file.output_dir)}"


def _run(folder: Folder, arms: Arms, trial: Trial) -> Found:
    """What is known of a run by the files in its folder."""
    within = str(arms.folder(trial).relative_to(arms.file.output_dir))
    known: Found = {"arm": trial.arm.name, "seed": trial.seed, "tuning": trial.tuning, "status": None}
    if folder.read(f"{within}/results.json", 1) is not None:
        return {**known, "state": "finished"}
    if folder.read(f"{within}/failure.txt", 1) is not None:
        return {**known, "state": "failed"}
    status = _status(folder, arms, trial)
    return {**known, "status": status, "state": status["state"] if status else "waiting"}


def _status(folder: Folder, arms: Arms, trial: Trial) -> Found | None:
    try:
        return status_of(_place(folder, arms, trial))
    except MissingInput:
        return None


def _state(folder: Folder, states: Counter[str], recent: Sequence[Found], now: datetime) -> str:
    """`running`, also for a moment between two runs; else `finished`, `failed` (one was, none waits) or `stopped`."""
    if states["running"]:
        return "running"
    ended = not any(states[name] for name in ("waiting", "stopped", "unknown"))
    if ended and folder.read("study.json", 1) is not None:
        return "failed" if states["failed"] else "finished"
    last = max((datetime.fromisoformat(one["updated"]) for one in recent), default=None)
    return "running" if last is not None and (now - last).total_seconds() < BETWEEN else "stopped"


def _arm(name: str, runs: Sequence[Found]) -> Found:
    tuning = [run["state"] for run in runs if run["tuning"]]
    return {"name": name, "tuning": {"all": len(tuning), "finished": tuning.count("finished")} if tuning else None,
            "seeds": {str(run["seed"]): run["state"] for run in runs if not run["tuning"]}}  # fmt: skip


def view(found: Found) -> RenderableType:
    """A head, a line an arm, and the run that works now."""
    runs, colour = found["runs"], COLOURS.get(found["state"], "")
    head = Text(f"{found['folder']}", style="bold")
    head.append(f"  study {found['study']}\n", style="not bold dim").append(
        sentence(found), style=f"not bold {colour}"
    )
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    tuned = any(arm["tuning"] for arm in found["arms"])
    for name in ("arm", *(["tuning"] if tuned else []), "seeds"):
        table.add_column(name)
    for arm in found["arms"]:
        grid = f"{arm['tuning']['finished']}/{arm['tuning']['all']}" if arm["tuning"] else ""
        seeds = "  ".join(
            f"{seed} [{COLOURS.get(state, 'default')}]{state}[/]" for seed, state in arm["seeds"].items()
        )
        table.add_row(escape(arm["name"]), *([grid] if tuned else []), seeds)
    parts: list[RenderableType] = [head, Text(), table]
    if found["current"] is not None:
        parts += [Text(), view_run(found["current"])]
    elif runs["failed"]:
        parts += [Text(), Text("what failed is in failure.txt of its run folder", style="dim")]
    return Group(*parts)


def sentence(found: Found) -> str:
    """How the study is, and how to go on."""
    runs = found["runs"]
    done = f"{runs['finished']} of {runs['all']} runs done" + (
        f", {runs['failed']} failed" if runs["failed"] else ""
    )
    if found["state"] == "running":
        return f"running: {done}" + (
            f", about {duration(found['seconds_left'])} left" if found["seconds_left"] else ""
        )
    if found["state"] == "finished":
        return f"finished: {done}"
    return f"{found['state']}: {done}\n`dtm study FILE` goes on from here"


def _parts(found: Found) -> dict[str, str]:
    return {
        f"{arm['name']}, seed {seed}": state for arm in found["arms"] for seed, state in arm["seeds"].items()
    }


STUDY = Kind(look=status_of_study, view=view, sentence=sentence, parts=_parts)
