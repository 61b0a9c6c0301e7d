"""`dtm status`: what a run has done, from the log in its folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from dtm.foundations.errors import MissingInput
from dtm.pipeline.display import duration


def status_of(folder: Path) -> dict[str, Any]:
    """Steps of the last command on this folder, with their state and seconds."""
    log = folder / "log.jsonl"
    if not log.exists():
        raise MissingInput("there is no log.jsonl, so no run was here", where=folder)
    steps: dict[str, dict[str, Any]] = {}
    last, finished = 0.0, False
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the last line of a killed run
        if event["event"] == "run":
            steps = {}
        last, finished = event["time"], event["event"] == "end"
        if event["step"]:
            step = steps.setdefault(event["step"], {"state": "", "seconds": None, "since": event["time"]})
            step["state"] = event["event"]
            step["seconds"] = event.get("seconds", step["seconds"])
    return {
        "folder": str(folder),
        "steps": steps,
        "last_event": last,
        "finished": finished,
    }


def show(found: dict[str, Any]) -> str:
    """A line a step."""
    lines = []
    for name, step in found["steps"].items():
        ended = step["state"] in ("done", "reused", "failed")
        spent = step["seconds"] if ended else max(0.0, time.time() - step["since"])
        lines.append(f"{step['state']:<9} {name:<28} {duration(spent or 0.0)}")
    lines.append("finished" if found["finished"] else "not finished: the same `dtm run` goes on from here")
    return "\n".join(lines)
