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
from dtm.pipeline.status import lines_of, state_of, status_of
from dtm.pipeline.watching import COLOURS, Kind
from dtm.pipeline.watching import view as view_run
from dtm.study.arms import Arms, Trial
from dtm.study.file import StudyFile

FORMAT = 1
STATES = {"started": "running", "done": "finished", "reused": "finished", "failed": "failed"}
COUNTED = ("finished", "failed", "running", "stopped", "waiting")
Found = dict[str, Any]


def is_study(place: str | os.PathLike[str]) -> bool:
    """Whether that folder is a study's that was begun, and no run's."""
    folder = opened(place)
    there = {name: folder.read(name, 1) is not None for name in ("run.yaml", "study.yaml", EVENTS)}
    return there["study.yaml"] and there[EVENTS] and not there["run.yaml"]


def status_of_study(place: str | os.PathLike[str], *, now: datetime | None = None) -> Found:
    """The state of every run of a study, as `dtm status --json` prints it. Raises MissingInput where none was begun."""
    folder = opened(place)
    arms, lines = _arms(folder), lines_of(folder.read(EVENTS) or b"")
    begun = [number for number, line in enumerate(lines) if line["event"] == "run"]
    if not begun:
        raise MissingInput("its log.jsonl tells of no study", where=folder.place)
    first, *last = lines[begun[-1] :]
    now = now or datetime.now(UTC)
    updated = datetime.fromisoformat(lines[-1]["time"])
    state, reason = state_of(folder, first, last, (now - updated).total_seconds())
    trials = [
        trial
        for arm in arms.by_name.values()
        for trial in (*arms.grid_trials(arm), *arms.final_trials(arm, {}))
    ]
    states = _states(lines, begun[-1], works=state in ("running", "unknown"))
    runs = [(trial, states.get(trial.label, "waiting")) for trial in trials]
    counts = Counter(one for _, one in runs)
    current = next((_current(folder, arms, trial) for trial, one in runs if one == "running"), None)
    if state == "finished" and (counts["failed"] or counts["waiting"]):
        state = "failed" if counts["failed"] else "stopped"  # with --only, some were never asked for
    return {
        "format": FORMAT, "kind": "study", "folder": folder.place, "study": arms.file.config.study, "state": state,
        "reason": reason, "command": first.get("command"), "host": first.get("host"), "pid": first.get("pid"),
        "started": first["time"], "updated": max(lines[-1]["time"], current["updated"] if current else ""),
        "runs": {"all": len(runs), **{name: counts[name] for name in COUNTED}},
        "seconds_left": _left(lines, runs, current) if state == "running" else None,
        "arms": [_arm(name, [run for run in runs if run[0].arm.name == name]) for name in arms.by_name],
        "current": current,
    }  # fmt: skip


def _arms(folder: Folder) -> Arms:
    text = folder.read("study.yaml")
    if text is None:
        raise MissingInput("no study was begun here", where=folder.place, mend="Name a study's output_dir")
    values = parse(text.decode("utf-8", "replace")).values
    return Arms(StudyFile(Document(values), Document(values), "run"))


def _states(lines: Sequence[Found], begun: int, works: bool) -> dict[str, str]:
    """What the log told last of every run; what a command left that works no more was stopped."""
    states: dict[str, str] = {}
    for number, line in enumerate(lines):
        if line["step"] and line["event"] in STATES:
            known = STATES[line["event"]]
            states[line["step"]] = known if known != "running" or (works and number > begun) else "stopped"
    return states


def _current(folder: Folder, arms: Arms, trial: Trial) -> Found | None:
    """The status of the run that works, once it has begun."""
    try:
        return status_of(f"{folder.place}/{arms.folder(trial).relative_to(arms.file.output_dir)}")
    except MissingInput:
        return None


def _left(lines: Sequence[Found], runs: Sequence[tuple[Trial, str]], current: Found | None) -> float | None:
    """Seconds that the rest takes if each run takes what those took, in the mean, that had work to do."""
    took = [line["seconds"] for line in lines if line["step"] and line["event"] == "done"]
    rest = sum(state in ("running", "stopped", "waiting") for _, state in runs)
    spent = current["seconds"] if current else 0.0
    return max(0.0, fmean(took) * rest - spent) if took else None


def _arm(name: str, runs: Sequence[tuple[Trial, str]]) -> Found:
    tuning = [state for trial, state in runs if trial.tuning]
    return {"name": name, "tuning": {"all": len(tuning), "finished": tuning.count("finished")} if tuning else None,
            "seeds": {str(trial.seed): state for trial, state in runs if not trial.tuning}}  # fmt: skip


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
    told = found["state"] == "failed" or found["reason"] == "its process is gone"
    why = f": {found['reason']}" if told and found["reason"] else ""
    return f"{found['state']}: {done}{why}\n{found['command'] or 'the same command'} goes on from here"


def _parts(found: Found) -> dict[str, str]:
    return {
        f"{arm['name']}, seed {seed}": state for arm in found["arms"] for seed, state in arm["seeds"].items()
    }


STUDY = Kind(look=status_of_study, view=view, sentence=sentence, parts=_parts)
