"""`dtm status`: what a run has done and does now, from the logs in its folder. docs/status.md has the schema."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from dtm.foundations.errors import MissingInput
from dtm.pipeline.journal import AT, BEGIN, EVENTS, Journal
from dtm.pipeline.opened import Folder, opened
from dtm.pipeline.remaining import Going, seconds_left

FORMAT = 1
FRESH = 60.0  # seconds after a sign of life in which a driver on another machine is taken to be alive
TAIL = 16 << 10  # bytes of a job's log in which its last progress stands
STAGES = {
    "base": ("convert_gguf", "prepare_base"),
    "data": ("load", "contamination", "render", "augment", "set_aside", "with_more", "contrast", "mix", "in_order",
             "of_sources", "share", "draw", "score", "stages", "judge", "demonstrate", "render_again", "alone",
             "curate"),
    "disperse": ("embedding", "embedded_sample", "features", "clusters", "losses", "hidden", "row_gradients",
                 "group_gradients", "disperse"),
    "train": ("base_fisher", "train", "checkpoint"),
    "prefer": ("sample", "pair", "chosen", "prefer"),
    "merge": ("search", "update_norm", "merge"),
    "evaluate": ("evaluate", "heldout", "mean_score", "attribute"),
}  # fmt: skip
AHEAD = ("disperse", "train", "merge", "evaluate")  # what a run does, as far as its command goes
STAGE_OF = {kind: stage for stage, kinds in STAGES.items() for kind in kinds}
ASIDE = "settings"  # the kind of what is no step of the store
TRAINS = ("train", "prefer")  # kinds of steps that are sub-models, or other models
STATES = {"start": "running", "started": "running", "resuming": "running", "queued": "waiting", "waiting": "waiting",
          "retry": "waiting", "done": "done", "reused": "reused", "failed": "failed", "left": "stopped"}  # fmt: skip
PLACED = ("host", "pid", "gpus", "attempt")
MEASURED = ("step", "steps", "loss", "learning_rate", "tokens", "tokens_per_second", "seconds_left")
Found = dict[str, Any]


def status_of(run: str | os.PathLike[str] | Folder, *, now: datetime | None = None) -> Found:
    """The state of the last command on a run's folder, its stages, and its steps, as `dtm status --json` prints it.

    Raises MissingInput where no run was.
    """
    folder = opened(run) if isinstance(run, str | os.PathLike) else run
    begun, *events = _events(folder)
    steps = _steps(folder, events)
    updated = max([begun["time"], *(one["time"] for one in events), *(step["updated"] for step in steps)])
    state, reason = state_of(folder, begun, events, age=_seconds(updated, now))
    ended = state in ("finished", "failed", "stopped")
    until = updated if ended else (now or datetime.now(UTC)).isoformat()
    for step in steps:
        if state in ("stopped", "failed") and step["state"] in ("running", "waiting"):
            step["state"], step["seconds_left"] = "stopped", None
    return {
        "format": FORMAT, "folder": folder.place, "state": state, "reason": reason,
        "command": begun.get("command"), "recipe": begun.get("recipe"), "until": begun.get("until"),
        "launch": begun.get("launch"), "workers": begun.get("workers"),
        "host": begun.get("host"), "pid": begun.get("pid"),
        "started": begun["time"], "updated": updated, "seconds": _between(begun["time"], until),
        "silent_seconds": None if ended else _seconds(updated, now),
        "seconds_left": _left(steps, begun.get("workers") or 1) if state == "running" else None,
        "stages": _stages(steps, begun, None if ended else until), "steps": steps,
    }  # fmt: skip


def ok(found: Found) -> bool:
    """Whether all is well: the run works, or is finished."""
    return found["state"] not in ("stopped", "failed")


def _events(folder: Folder) -> list[Found]:
    """The lines of the last command; the first says who began it."""
    data = folder.read(EVENTS)
    if data is None:
        planned = folder.read("run.yaml") is not None
        raise MissingInput(
            "no run has begun here" if planned else "there is no log.jsonl, so no run was here",
            where=folder.place, mend="Name a run's output_dir; `dtm run FILE` makes one",
        )  # fmt: skip
    events = lines_of(data)
    starts = [number for number, event in enumerate(events) if event["event"] == "run"]
    if not starts:
        raise MissingInput("its log.jsonl holds no run of dtm's", where=folder.place)
    return events[starts[-1] :]


def lines_of(data: bytes) -> list[Found]:
    """Whole lines of a log; what a kill or a full disk left of one is passed over."""
    found = []
    for line in data.splitlines():
        try:
            event = json.loads(line)
            datetime.fromisoformat(event["time"])
            event["event"], event["step"]
        except (ValueError, KeyError, TypeError):
            continue
        found.append(event)
    return found


def _steps(folder: Folder, events: Iterable[Found]) -> list[Found]:
    """A line a step, in the order in which they were met."""
    steps: dict[str, Found] = {}
    for event in events:
        if not event["step"]:
            continue
        step = steps.setdefault(event["step"], _new(event))
        step["state"] = STATES.get(event["event"], step["state"])
        step["kind"] = event.get("kind") or step["kind"]
        step["updated"] = event["time"]
        step |= {name: event[name] for name in (*PLACED, "what", "reason") if name in event}
        if event["event"] in ("start", "started", "queued"):
            step["began"] = event["time"]
        if event["event"] in ("queued", "done", "reused") and event.get("steps") is not None:
            step["steps"] = event["steps"]
        if event["event"] in ("done", "reused"):
            step["seconds"], step["step"] = event.get("seconds"), step["steps"]
    whole = [step for step in steps.values() if step["kind"]]  # others are parts of a step
    for step in whole:
        step["stage"] = STAGE_OF.get(step["kind"], step["kind"])
        if step["state"] == "running" or (
            step["kind"] in TRAINS and step["state"] not in ("reused", "waiting")
        ):
            _add_progress(folder, step)
    return whole


def _new(event: Found) -> Found:
    return {"name": event["step"], "kind": "", "stage": "", "state": "waiting", "what": "", "reason": None,
            "began": event["time"], "updated": event["time"], "seconds": None, "doing": None,
            **dict.fromkeys(MEASURED), **dict.fromkeys(PLACED), "log": None}  # fmt: skip


def _add_progress(folder: Folder, step: Found) -> None:
    """What its own log told last, since it began."""
    lines = lines_of(folder.read(Journal.name(step["name"], "jsonl"), TAIL) or b"")
    begins = [number for number, line in enumerate(lines) if line["event"] in BEGIN]
    told = [line for line in lines[begins[-1] if begins else 0 :] if line["event"] == "progress"]
    if step["host"] is not None:
        step["log"] = Journal.name(step["name"], "log")
    if not told:
        return
    last = told[-1]
    step["updated"] = max(step["updated"], last["time"])
    ended = step["state"] in ("done", "failed")
    for name in (
        "loss",
        "learning_rate",
        "tokens_per_second",
        "tokens",
        *(() if ended else ("seconds_left",)),
    ):
        step[name] = last.get(name, step[name])
    if not ended or step["step"] is None:
        step["step"] = last.get(AT, last.get("done"))
        step["steps"] = last.get("steps", last.get("total")) or step["steps"]
        step["doing"] = last.get("stage") or None


def state_of(folder: Folder, begun: Found, events: Sequence[Found], age: float) -> tuple[str, str | None]:
    """`finished`, `failed`, `stopped`, `running`, or, where nothing tells, `unknown`."""
    last = next((one for one in reversed(events) if one["event"] in ("end", "failed", "stopped") and not one["step"]),
                None)  # fmt: skip
    if last is not None:
        return "finished" if last["event"] == "end" else str(last["event"]), last.get("reason")
    held = folder.held()
    if held:
        return "running", None
    if held is False and begun.get("host") == socket.gethostname():
        return "stopped", "its process is gone"
    return ("running" if age < FRESH else "unknown"), None


def _left(steps: Sequence[Found], workers: int) -> float | None:
    """Seconds until the jobs that work or wait now have ended; what comes behind them is not known."""
    rest = [step for step in steps if step["state"] in ("running", "waiting")]
    going = [
        Going(step["step"] or 0, step["steps"], step["seconds_left"], step["state"] == "running")
        for step in rest
    ]
    kinds = {step["kind"] for step in rest}
    ended = [(step["steps"] or 0, step["seconds"] or 0.0) for step in steps
             if step["state"] == "done" and step["kind"] in kinds]  # fmt: skip
    return seconds_left(going, workers, ended)


def _stages(steps: Sequence[Found], begun: Found, now: str | None) -> list[Found]:
    """In the order of a run: those that were met and, unless it has ended, those of its command that are ahead."""
    steps = [step for step in steps if step["kind"] != ASIDE]
    met = {step["stage"] for step in steps}
    order = [*STAGES, *sorted(met - set(STAGES))]
    until = AHEAD.index(begun["until"]) if begun.get("until") in AHEAD else len(AHEAD) - 1
    furthest = max((order.index(stage) for stage in met if stage in AHEAD), default=-1)
    found = []
    for place, stage in enumerate(order):
        own = [step for step in steps if step["stage"] == stage]
        if own:
            found.append(_stage(stage, own, now))
        elif now and stage in AHEAD[: until + 1] and place > furthest:
            found.append(
                {"stage": stage, "state": "waiting", "steps": 0, "ended": 0, "reused": 0, "seconds": None}
            )
    return found


def _stage(stage: str, own: Sequence[Found], now: str | None) -> Found:
    states = [step["state"] for step in own]
    for state in ("failed", "running", "stopped", "waiting"):
        if state in states:
            break
    else:
        state = "reused" if set(states) == {"reused"} else "done"
    began, updated = min(step["began"] for step in own), max(step["updated"] for step in own)
    updated = now if now and state in ("running", "waiting") else updated
    ended, reused = sum(one in ("done", "reused") for one in states), states.count("reused")
    return {"stage": stage, "state": state, "steps": len(own), "ended": ended, "reused": reused,
            "seconds": _between(began, updated)}  # fmt: skip


def _seconds(since: str, now: datetime | None) -> float:
    return max(0.0, ((now or datetime.now(UTC)) - datetime.fromisoformat(since)).total_seconds())


def _between(since: str, until: str) -> float:
    return round((datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds(), 3)
