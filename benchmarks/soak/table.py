"""The tables of README.md, from the results beside it: `python benchmarks/soak/table.py`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TARGETS = ("driver", "worker", "node")


def kills(results: dict[str, Any]) -> list[dict[str, Any]]:
    """All kills, each with the kind of its round."""
    return [{**kill, "kind": one["kind"]} for one in results["rounds"] for kill in one["kills"]]


def stages(results: dict[str, Any]) -> str:
    """How many kills of each target fell into which stage, by what the log says was in hand."""
    counted = Counter((stage(kill), kill["target"]) for kill in kills(results))
    drawn = json.loads((HERE / "config.json").read_text(encoding="utf-8"))["stages"]  # in the order of a run
    names = [name for name in (*drawn, "between two steps") if any(counted[name, one] for one in TARGETS)]
    lines = [f"| in hand when killed | {' | '.join(TARGETS)} |", "|---|" + "---|" * len(TARGETS)]
    lines += [
        f"| {name} | {' | '.join(str(counted[name, one] or '') for one in TARGETS)} |" for name in names
    ]
    total = [sum(counted[name, one] for name in names) for one in TARGETS]
    return "\n".join([*lines, f"| together: {sum(total)} | {' | '.join(map(str, total))} |"]) + "\n"


def stage(kill: dict[str, Any]) -> str:
    """The first step that was in hand, evaluations as one; what was drawn where the log names none."""
    if not kill["in_hand"]:
        return kill["stage"] if kill["stage"] in ("start", "report") else "between two steps"
    name = kill["in_hand"][0]
    return "evaluation" if name.endswith((" sums", " held-out loss")) else name


def outcome(results: dict[str, Any]) -> str:
    """What the rounds came to: each row should be 0 but the first ones."""
    rounds = results["rounds"]
    leaving = [kill["leave_seconds"] for kill in kills(results) if "leave_seconds" in kill]
    rows = {
        "runs, each from an empty store to its end": len(rounds),
        "kills": len(kills(results)),
        "starts of a driver": sum(one["starts"] for one in rounds),
        "runs with other bytes than the undisturbed one": sum(bool(one["differ"]) for one in rounds),
        "optimizer steps missing": sum(len(one["steps_missing"]) for one in rounds),
        "optimizer steps in all runs, done once": sum(one["steps"] for one in rounds),
        "trainings in hand at kills": sum(one["steps_in_hand"] for one in rounds),
        "optimizer steps done twice (at most one a training in hand)": sum(
            one["steps_twice"] for one in rounds
        ),
        "steps of the store made twice": sum(len(one["made_twice"]) for one in rounds),
        "processes left 30 s after a kill or an end": sum(len(one["left_processes"]) for one in rounds)
        + sum(len(kill.get("left_processes", [])) for kill in kills(results)),
        "seconds until the workers of a killed driver were gone, at most": max(leaving, default=0.0),
        "files left: unfinished, half-written, temporary": sum(len(one["litter"]) for one in rounds),
    }
    return (
        "\n".join(["| | |", "|---|---|", *(f"| {name} | {value:,} |" for name, value in rows.items())]) + "\n"
    )


def tables(results: dict[str, Any]) -> list[str]:
    return [outcome(results), stages(results)]


if __name__ == "__main__":
    print("\n".join(tables(json.loads((HERE / "results.json").read_text(encoding="utf-8")))))
