"""`dtm status` on a terminal: a table of the stages, one of the sub-models, and again while the run goes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dtm.pipeline.display import duration
from dtm.pipeline.opened import opened
from dtm.pipeline.status import TRAINS, Found, status_of

EVERY = 1.0  # seconds between two looks
QUIET = 60.0  # seconds without a sign of life after which that is said
SHOWN = 40  # steps besides trainings
COLOURS = {"running": "cyan", "finished": "green", "done": "green", "failed": "red", "stopped": "red",
           "unknown": "yellow", "waiting": "dim", "reused": "dim"}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """What is watched, a run or a study: how to look, how to draw what was seen, and the state of each part of it."""

    look: Callable[[str | os.PathLike[str]], Found]
    view: Callable[[Found], RenderableType]
    sentence: Callable[[Found], str]
    parts: Callable[[Found], dict[str, str]]


def looks(run: str | os.PathLike[str], every: float = EVERY, kind: Kind | None = None) -> Iterator[Found]:
    """The status now, and again until it works no more."""
    while True:
        found = (kind or RUN).look(run)
        yield found
        if found["state"] in ("finished", "failed", "stopped"):
            return
        time.sleep(every)


def watch(run: str | os.PathLike[str], console: Console, kind: Kind | None = None) -> Found:
    """Draw the status anew until it ends; in a file, a line a change. Returns the last."""
    kind = kind or RUN
    seen = looks(run, kind=kind)
    if not console.is_terminal:
        return _told(seen, console, kind)
    found = next(seen)
    with Live(kind.view(found), console=console, auto_refresh=False, transient=True) as live:
        for found in seen:
            live.update(kind.view(found), refresh=True)
    console.print(kind.view(found))
    return found


def lines(run: str | os.PathLike[str], console: Console, kind: Kind | None = None) -> Found:
    """A line of JSON at each change, until it ends. Returns the last."""
    before, found = None, Found()
    for found in looks(run, kind=kind):
        if (seen := (found["updated"], found["state"])) != before:
            before = seen
            console.print(json.dumps(found), soft_wrap=True, markup=False)
    return found


def view(found: Found) -> RenderableType:
    """All of it: a head, the stages, the sub-models."""
    parts: list[RenderableType] = [_head(found), Text(), _stages(found)]
    shown = [
        step for step in found["steps"] if step["kind"] in TRAINS or step["state"] in ("running", "failed")
    ]
    if shown:
        parts += [Text(), _steps(shown[:SHOWN] if len(shown) > SHOWN else shown)]
    waiting = sum(step["state"] == "waiting" and step["kind"] not in TRAINS for step in found["steps"])
    below = [f"and {len(shown) - SHOWN} more"] if len(shown) > SHOWN else []
    below += [f"{waiting} steps wait"] if waiting else []
    below += [f"{duration(found['seconds_left'])} left for these"] if found["seconds_left"] else []
    if below:
        parts.append(Text("; ".join(below), style="dim"))
    if found["reason"] and found["state"] == "failed":
        parts += [Text(), Text(found["reason"].rstrip(), style="red")]
    return Group(*parts)


def sentence(found: Found) -> str:
    """How the run is, in a sentence or two, and how to go on."""
    spent = duration(found["seconds"])
    where = f" on {found['host']}, process {found['pid']}" if found["host"] else ""
    on = f"\n{found['command'] or 'the same command'} goes on from here"
    silent = found["silent_seconds"] or 0.0
    match found["state"]:
        case "running":
            last = f"; the last sign of it is {duration(silent)} old" if silent > QUIET else ""
            return f"running for {spent}{where}{last}"
        case "finished":
            return f"finished in {spent}"
        case "failed":
            return f"failed after {spent}{on}"
        case "stopped" if found["reason"] == "its process is gone":
            return f"not running: its process ended without a word after {spent}{on}"
        case "stopped":
            return f"stopped after {spent}{on}"
        case _:
            return f"not known: it began{where}, and the last sign of it is {duration(silent)} old"


def _head(found: Found) -> Text:
    colour = COLOURS.get(found["state"], "")
    kind = ", ".join(
        word for word in (found["recipe"], found["launch"] and f"launch {found['launch']}") if word
    )
    text = Text(f"{found['folder']}", style="bold")
    text.append(f"  {kind}\n" if kind else "\n", style="not bold dim")
    return text.append(sentence(found), style=f"not bold {colour}")


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in names:
        right = name in ("steps", "step", "loss", "tokens/s", "time", "left", "try")
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "where")
    return table


def _stages(found: Found) -> Table:
    table = _table("stage", "state", "steps", "time")
    for stage in found["stages"]:
        count = f"{stage['ended']}/{stage['steps']}" if stage["steps"] else ""
        if 0 < stage["reused"] < stage["steps"]:
            count += f" ({stage['reused']} reused)"
        spent = "" if stage["seconds"] is None or stage["state"] == "reused" else duration(stage["seconds"])
        table.add_row(stage["stage"], _state(stage["state"]), count, spent)
    return table


def _steps(steps: list[Found]) -> Table:
    table = _table("step", "state", "step of", "loss", "tokens/s", "where", "try", "left")
    table.columns[0].justify, table.columns[2].justify = "left", "right"
    for step in steps:
        state = _state(step["state"])
        if step["state"] == "running" and step["doing"] not in (None, "training"):
            state += f" ({escape(step['doing'])})"
        table.add_row(
            escape(step["name"]), state, _count(step), _number(step["loss"], ".3f"),
            _number(step["tokens_per_second"], ",.0f"), escape(_where(step)),
            str(step["attempt"]) if (step["attempt"] or 1) > 1 else "",
            duration(step["seconds_left"]) if step["seconds_left"] else "",
        )  # fmt: skip
    return table


def _state(state: str) -> str:
    return f"[{COLOURS.get(state, 'default')}]{state}[/]"


def _count(step: Found) -> str:
    done, total = step["step"], step["steps"]
    if done is None and total is None:
        return ""
    return f"{done or 0:,}/{total:,}" if total else f"{done:,}"


def _number(value: Any, form: str) -> str:
    return "" if value is None else format(value, form)


def _where(step: Found) -> str:
    if step["host"] is None:
        return ""
    gpus = f" GPU {step['gpus']}" if step["gpus"] else ""
    return f"{step['host']}:{step['pid']}{gpus}"


def _told(seen: Iterator[Found], console: Console, kind: Kind) -> Found:
    """Plain lines: one for each part that changes its state, and one for the end."""
    states: dict[str, str] = {}
    found = Found()
    for found in seen:
        for name, state in kind.parts(found).items():
            if states.get(name) != state:
                states[name] = state
                console.print(f"{state} {name}", soft_wrap=True, markup=False)
    console.print(kind.sentence(found), soft_wrap=True, markup=False)
    return found


def _parts(found: Found) -> dict[str, str]:
    return {step["name"]: step["state"] for step in found["steps"]}


RUN = Kind(look=lambda run: status_of(opened(run)), view=view, sentence=sentence, parts=_parts)
