"""A soak of real kills: `python benchmarks/soak/run.py --folder SCRATCH`; called again, it goes on.

A round is one run over a new store. It is killed at drawn moments of drawn stages - the driver or a worker by SIGKILL,
in rounds on Ray a whole node - and started again whenever its driver is gone, until it is finished. Then its bytes are
compared with those of a run that nothing disturbed, its optimizer steps are counted, and what it left is looked for.
config.json goes in; results.json comes out after every round: each kill with its time, target and what was in hand.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import world
from inputs import write
from nodes import Nodes

HERE = Path(__file__).parent
AFTER = 30.0  # seconds in which what is left of a killed run must have gone
EVALUATION = ("base sums", "base held-out loss", "merged sums", "merged held-out loss")
IN_WORKERS = ("base hidden states", "submodel-", "evaluation")


class Soak:
    """The rounds of one configuration below `folder`; `results` is what results.json will hold."""

    def __init__(self, folder: Path, config: dict[str, Any], out: Path) -> None:
        self.folder, self.config, self.out = folder.absolute(), config, out
        self.results = json.loads(out.read_text()) if out.exists() else {"rounds": []}
        assert self.results.get("config", config) == config, f"{out} is of another configuration"
        self.results["config"] = config
        self.expected: dict[str, str] = {}

    def go_on(self, until: float) -> None:
        """All rounds that are missing, or as many as begin before `until`."""
        self._undisturbed()
        while (kind := self._wanted()) and time.time() < until:
            number = len(self.results["rounds"])
            found = Round(self, number, kind).play()
            self.results["rounds"].append(found)
            self._save()
            told = {key: value for key, value in found.items() if key not in ("kills", "log")}
            print(json.dumps({"kills": self.count(), **told}), flush=True)

    def count(self, *targets: str) -> int:
        return sum(kill["target"] in targets or not targets
                   for one in self.results["rounds"] for kill in one["kills"])  # fmt: skip

    def _wanted(self) -> str | None:
        """Rounds on Ray stand between the others, so that a soak that is cut short has some of both."""
        nodes, all_of_them = self.config["of_them_nodes"], self.config["kills"]
        others = self.count("driver", "worker")
        if self.count("node") < nodes and (self.count("node") * (all_of_them - nodes) <= others * nodes - 20
                                           or others >= all_of_them - nodes):  # fmt: skip
            return "ray"
        return "local" if others < all_of_them - nodes else None

    def _undisturbed(self) -> None:
        """Made anew by each call, since its bytes depend on the processor; its times by stage place the kills."""
        place = self.folder / "undisturbed"
        shutil.rmtree(place, ignore_errors=True)
        run = write(place, self.config, {"workers": 1, "threads": 1})
        driver = start(run, "undisturbed")
        assert driver.wait() == 0, (place / "printed.txt").read_text()
        self.expected = world.content(place / "run")
        told = world.events(place / "run" / "log.jsonl")
        self.steps = {name: max(done) for name, done in world.steps_done(place / "steps.txt").items()}
        self.seconds = durations(told)
        self.results.setdefault(
            "undisturbed", {"files": len(self.expected), "steps": self.steps, "seconds": self.seconds}
        )
        self.results["machine"] = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version(),
                                   "commit": commit(), "litter": world.litter(place)}  # fmt: skip

    def _save(self) -> None:
        partial = self.out.with_suffix(".partial")
        partial.write_text(json.dumps(self.results, indent=1, sort_keys=True) + "\n")
        os.replace(partial, self.out)


class Round:
    """One run, from an empty store to its end, with its kills."""

    def __init__(self, soak: Soak, number: int, kind: str) -> None:
        self.soak, self.number, self.kind = soak, number, kind
        self.mark = f"{soak.folder.name}-{number}"
        self.place = soak.folder / f"round-{number}"
        self.random = random.Random(f"{soak.config['seed']}/{number}")
        self.kills: list[dict[str, Any]] = []
        self.starts, self.stopped = 0, list[str]()

    def play(self) -> dict[str, Any]:
        began = time.monotonic()
        shutil.rmtree(self.place, ignore_errors=True)
        workers = self.random.choice([1, 1, 2])
        with Nodes(self.kind == "ray", self.place, self.mark) as nodes:
            launch = {"workers": workers, "threads": 1}
            if nodes.address:
                launch = {"kind": "ray", "address": nodes.address, "workers": 2, "threads": 1}
            self.run_file, self.nodes = write(self.place, self.soak.config, launch), nodes
            self.log = self.place / "run" / "log.jsonl"
            self.driver = self._start()
            for plan in self._plans():
                self._until(plan)
            self._finish()
            leave, left = world.gone_after(self.mark, AFTER)
        return self._judged({"leave_seconds": leave, "left_processes": left, "kind": self.kind, "workers": workers,
                             "seconds": round(time.monotonic() - began, 1)})  # fmt: skip

    def _plans(self) -> list[dict[str, Any]]:
        """Drawn stages in the order of the run, each with a target and a moment as a share of the stage's time."""
        config = self.soak.config
        names = list(config["stages"])
        if self.kind == "ray":
            names = [name for name in names if name.startswith(IN_WORKERS)]
        weights = [config["stages"][name] for name in names]
        drawn = sorted(
            names.index(name) for name in self.random.choices(names, weights, k=config["kills_a_round"])
        )
        plans = []
        for index in drawn:
            stage = names[index]
            target = self.random.choices(list(config["targets"]), list(config["targets"].values()))[0]
            target = "node" if self.kind == "ray" else target if stage.startswith(IN_WORKERS) else "driver"
            plans.append({"target": target, "stage": stage, "moment": round(self.random.random(), 4),
                          "which": self.random.randrange(2)})  # fmt: skip
        return plans

    def _until(self, plan: dict[str, Any]) -> None:
        """Wait for the moment and kill; the stage may be over already, and then nothing is killed."""
        end = time.monotonic() + self.soak.config["patience"]
        while not self._reached(plan["stage"]):
            if self._restart_if_gone() or self._is_over(plan["stage"]) or time.monotonic() > end:
                return
            time.sleep(0.02)
        time.sleep(plan["moment"] * self.soak.seconds.get(plan["stage"], 1.0))
        self._kill(plan)

    def _kill(self, plan: dict[str, Any]) -> None:
        told = world.last_command(world.events(self.log))
        if plan["target"] == "driver":
            victim: Any = self.driver.pid if self.driver.poll() is None else None
        elif plan["target"] == "worker":
            alive = world.workers(self.mark)
            victim = alive[plan["which"] % len(alive)] if alive else None
        else:
            victim = self.nodes.alive(plan["which"]) if self.driver.poll() is None else None
        if victim is None:
            return
        in_hand = world.in_hand(told)
        if plan["target"] == "node":
            self.nodes.kill(victim)
        else:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                return
        kill = {"time": round(time.time(), 3), **plan, "in_hand": in_hand}
        if plan["target"] == "driver":
            self.driver.wait()
            kill["leave_seconds"], kill["left_processes"] = world.gone_after(self.mark, AFTER)
            self.driver = self._start()
        self.kills.append(kill)

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        return start(self.run_file, self.mark)

    def _restart_if_gone(self) -> bool:
        """Start a driver again that gave up, as after a third death of one worker; whether the run is finished."""
        code = self.driver.poll()
        if code is None:
            return False
        if code == 0:
            return True
        self.stopped.append((self.place / "printed.txt").read_text().splitlines()[-1][:300])
        assert len(self.stopped) < 10, self.stopped
        self.driver = self._start()
        return False

    def _finish(self) -> None:
        end = time.monotonic() + 3 * self.soak.config["patience"]
        while not self._restart_if_gone():
            assert time.monotonic() < end, f"round {self.number} does not come to its end"
            time.sleep(0.1)

    def _reached(self, stage: str) -> bool:
        if self.driver.poll() is not None:
            return False
        told = world.last_command(world.events(self.log))
        if stage == "start":
            return True
        if stage == "report":
            ended = {event["step"] for event in told if event["event"] in ("done", "reused")}
            return ended.issuperset(EVALUATION)
        hand = world.in_hand(told)
        return stage in hand or (stage == "evaluation" and any(one in hand for one in EVALUATION))

    def _is_over(self, stage: str) -> bool:
        told = world.last_command(world.events(self.log))
        ended = {event["step"] for event in told if event["event"] in ("done", "reused")}
        return stage in ended

    def _judged(self, found: dict[str, Any]) -> dict[str, Any]:
        content, expected = world.content(self.place / "run"), self.soak.expected
        differ = sorted(
            name for name in content.keys() | expected.keys() if content.get(name) != expected.get(name)
        )
        done = world.steps_done(self.place / "steps.txt")
        twice = {name: len(steps) - len(set(steps)) for name, steps in done.items()}
        missing = [
            name
            for name, last in self.soak.steps.items()
            if set(done.get(name, [])) != set(range(1, last + 1))
        ]
        labels = [event["step"] for event in world.events(self.log) if event["event"] == "done"]
        found |= {
            "kills": self.kills, "starts": self.starts, "given_up": self.stopped, "differ": differ,
            "steps": sum(self.soak.steps.values()), "steps_twice": sum(twice.values()), "steps_missing": missing,
            "steps_in_hand": sum(one.startswith("submodel-") for kill in self.kills for one in kill["in_hand"]),
            "made_twice": sorted({label for label in labels if labels.count(label) > 1}),
            "litter": world.litter(self.place),
        }  # fmt: skip
        found["clean"] = not (differ or missing or found["made_twice"] or found["litter"] or found["left_processes"]
                              or found["steps_twice"] > found["steps_in_hand"]
                              or any(kill.get("left_processes") for kill in self.kills))  # fmt: skip
        if found["clean"]:
            shutil.rmtree(self.place)
        return found


def start(run_file: Path, mark: str) -> subprocess.Popen[bytes]:
    """`dtm run` of the tree that this script stands in, its environment marked, its steps counted."""
    place = run_file.parent
    command = [sys.executable, "-m", "dtm.cli", "run", run_file.name]
    with open(place / "printed.txt", "ab") as printed:
        return subprocess.Popen(command, cwd=place, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed,
                                env=environment(place, mark))  # fmt: skip


def environment(place: Path, mark: str) -> dict[str, str]:
    paths = [HERE / "watch", HERE.parents[1] / "src", os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ, world.MARK: mark, "SOAK_STEPS": str(place / "steps.txt"), "TMPDIR": str(place / "tmp"),
        "PYTHONPATH": os.pathsep.join(str(path) for path in paths if path), "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def durations(told: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds of each stage; `start` until the first event, `report` from the last step's end."""
    found = {event["step"]: event["seconds"] for event in told if event["event"] == "done"}
    found["evaluation"] = sum(found.get(name, 0.0) for name in EVALUATION)
    last, end = (datetime.fromisoformat(event["time"]) for event in
                 ([event for event in told if event["event"] == "done"][-1], told[-1]))  # fmt: skip
    return found | {"start": 2.0, "report": round((end - last).total_seconds(), 2)}


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=HERE / "config.json")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--minutes", type=float, default=1e6, help="no round begins after so many")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a Ray cluster is taken down
    arguments.folder.mkdir(parents=True, exist_ok=True)
    Soak(arguments.folder, json.loads(arguments.config.read_text()), arguments.out).go_on(
        time.time() + 60 * arguments.minutes
    )


if __name__ == "__main__":
    main()
