"""What launching costs: `python benchmarks/launch/run.py --folder SCRATCH [submodel] [whole] [store]`.

config.json goes in; results.json comes out, each part as it is done. Parts:

    submodel  from a job's start to its first optimizer step, and to its end: in a new worker and in one that is
              kept, on this machine and on a Ray cluster of it; Ray's own start; the driver's CPU share meanwhile
    whole     `dtm run` of K sub-models on 1 and on 2 workers against one plain TRL run on the same rows, all on two
              cores; repeats in turn, so that the machine's other load meets all three
    store     put, find and gc of artifacts of one small file
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inputs import BASE, make_rows

from dtm.foundations.launch import Job, Launcher, LocalLauncher, Share
from dtm.foundations.store import Step, Store
from dtm.pipeline.collect import collect

HERE = Path(__file__).parent
RATE = 1e-3
RUN = """
recipe: disperse_then_merge
base: {base}
model: {{dtype: float32}}
data: [{{path: {data}}}]
dev: {{fraction: 0}}
disperse: {{method: random, k: {k}}}
train: {{args: {{learning_rate: {rate}, num_train_epochs: {epochs}, max_length: {max_length},
                per_device_train_batch_size: {batch}}}}}
evaluate: {{tasks: [], heldout: false}}
launch: {{workers: {workers}, threads: {threads}}}
output_dir: {folder}/run
store: {folder}/store
"""


def submodel(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """By launcher: seconds of its own start, and of a first and a second sub-model."""
    data = make_rows(folder / "rows.jsonl", config["rows"])
    arguments = _job(folder, data)
    found: dict[str, Any] = {}
    for name in ("local", "ray"):
        runs = [_two_submodels(_launcher(name, folder), arguments, folder) for _ in range(config["repeats"])]
        found[name] = {key: round(statistics.median(run[key] for run in runs), 2) for key in runs[0]}
        found[name]["repeats"] = [{key: round(value, 2) for key, value in run.items()} for run in runs]
    return found


def _launcher(name: str, folder: Path) -> Callable[[], Launcher]:
    if name == "local":
        return lambda: LocalLauncher(log=folder / "workers.log")
    from dtm.foundations.launch.on_ray import RayLauncher

    os.environ.setdefault(
        "RAY_AUTH_MODE", "disabled"
    )  # a cluster of this machine, on loopback, for this process
    return lambda: RayLauncher(Share(), address="local", log=folder / "workers.log")


def _two_submodels(make: Callable[[], Launcher], arguments: dict[str, Any], folder: Path) -> dict[str, float]:
    launcher, told = make(), dict[str, float]()
    try:
        start = time.perf_counter()
        launcher.map([Job("nothing", "dtm.foundations.launch.worker:nothing")])
        told["launcher_start"] = time.perf_counter() - start
        for which in ("new", "kept"):
            marks, cpu, start = dict[str, float](), time.process_time(), time.perf_counter()

            def on_event(event: Any, marks: dict[str, float] = marks) -> None:
                if event.data.get("stage") == "training":
                    marks.setdefault("first", time.perf_counter())

            launcher.map(
                [Job(which, "dtm.train.sft:train", _emptied(arguments), spread=True)], on_event=on_event
            )
            end = time.perf_counter()
            told[f"{which}_to_first_step"] = marks["first"] - start
            told[f"{which}_to_end"] = end - start
            told[f"{which}_driver_cpu_percent"] = 100 * (time.process_time() - cpu) / (end - start)
    finally:
        launcher.close()
    return told


def _job(folder: Path, data: Path) -> dict[str, Any]:
    """The training job that `dtm run` would give for one sub-model of these rows."""
    from dtm.config import read
    from dtm.pipeline.checks import check
    from dtm.pipeline.display import Display
    from dtm.pipeline.steps import Steps
    from dtm.pipeline.verbs import Run

    text = RUN.format(base=BASE, data=data, k=1, rate=RATE, epochs=1, max_length=256, batch=8, workers=1, threads=1,
                      folder=folder / "plan")  # fmt: skip
    path = folder / "plan.yaml"
    path.write_text(text)
    file = read(path)
    checked = check(file)
    file.output_dir.mkdir(parents=True, exist_ok=True)
    launcher = LocalLauncher()
    steps = Steps(Store(file.store), launcher, Display(quiet=True), planning=True, folder=file.output_dir)
    run = Run(checked, steps)
    checked.recipe(run, checked.config)
    work = next(work for work in steps.planned if work.step.name == "train")
    claim: Any = type("Claim", (), {"output": folder / "output", "scratch": folder / "scratch"})
    return work.arguments(claim)


def _emptied(arguments: dict[str, Any]) -> dict[str, Any]:
    for name in ("output", "scratch"):
        shutil.rmtree(arguments[name], ignore_errors=True)
        Path(arguments[name]).mkdir(parents=True)
    return arguments


def whole(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Repeats of vanilla, of K on one worker with two threads, and of K on two workers with one each, in turn."""
    data = make_rows(folder / "rows.jsonl", config["rows"])
    runs: dict[str, list[dict[str, float]]] = {"vanilla": [], "one worker": [], "two workers": []}
    for _ in range(config["repeats"]):
        runs["vanilla"].append(_vanilla(folder, data, config))
        runs["one worker"].append(_dtm(folder, data, config, workers=1, threads=2))
        runs["two workers"].append(_dtm(folder, data, config, workers=2, threads=1))
        print(json.dumps({name: rows[-1] for name, rows in runs.items()}), flush=True)
    vanilla, one, two = (runs[name] for name in runs)
    return {
        "runs": runs,
        "medians": {name: {key: round(statistics.median(run[key] for run in rows), 2) for key in rows[0]}
                    for name, rows in runs.items()},
        "one worker against vanilla, beyond loading": _ratio(one, vanilla, "beyond_loading"),
        "one worker against vanilla, whole": _ratio(one, vanilla, "wall"),
        "one worker against vanilla, CPU beyond loading": _ratio(one, vanilla, "cpu_beyond_loading"),
        "two workers against one": _ratio(one, two, "wall"),
        "two workers against one, beyond loading": _ratio(one, two, "beyond_loading"),
    }  # fmt: skip


def _ratio(above: list[dict[str, float]], below: list[dict[str, float]], key: str) -> dict[str, Any]:
    each = [round(a[key] / b[key], 2) for a, b in zip(above, below, strict=True)]
    return {"median": round(statistics.median(each), 2), "each": each}


def _vanilla(folder: Path, data: Path, config: dict[str, Any]) -> dict[str, float]:
    output = folder / "vanilla"
    shutil.rmtree(output, ignore_errors=True)
    settings = {
        **config,
        "base": str(BASE),
        "data": str(data),
        "output": str(output),
        "threads": 2,
        "learning_rate": RATE,
    }
    (folder / "vanilla.json").write_text(json.dumps(settings))
    wall, cpu, text = _timed([sys.executable, str(HERE / "vanilla.py"), str(folder / "vanilla.json")])
    told = json.loads(text.splitlines()[-1])
    loading = told["loading"]
    return {"wall": wall, "cpu": cpu, "loading": loading, "beyond_loading": wall - loading, "steps": told["steps"],
            "cpu_beyond_loading": cpu * (wall - loading) / wall, "load": os.getloadavg()[0]}  # fmt: skip


def _dtm(folder: Path, data: Path, config: dict[str, Any], *, workers: int, threads: int) -> dict[str, float]:
    """Loading is what each sub-model does until its first step; the driver's own imports and steps are not."""
    place = folder / "dtm"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    own = {name: config[name] for name in ("k", "epochs", "max_length", "batch")}
    (place / "run.yaml").write_text(
        RUN.format(base=BASE, data=data, rate=RATE, workers=workers, threads=threads, folder=place, **own)
    )
    wall, cpu, text = _timed([sys.executable, str(HERE / "whole.py"), str(place / "run.yaml")])
    told = json.loads(text.splitlines()[-1])
    loading = sum(told["loading"]) / workers
    return {"wall": wall, "cpu": cpu, "loading": loading, "beyond_loading": wall - loading, "steps": told["steps"],
            "cpu_beyond_loading": cpu * (wall - loading) / wall, "load": os.getloadavg()[0],
            "before": told["before"], "driver_cpu_percent": told["driver_cpu_percent"]}  # fmt: skip


def _timed(command: list[str]) -> tuple[float, float, str]:
    """Wall and CPU seconds of a process and all of its own, and what it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    environment.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command} failed: {done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def store(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds an operation: put, find, and gc of all, which no run names."""
    root = folder / "store"
    shutil.rmtree(root, ignore_errors=True)
    one, count, data = Store(root), config["artifacts"], b"x" * config["bytes"]

    def build(claim: Any) -> None:
        (claim.output / "data").write_bytes(data)

    steps = [Step("measured", {"number": number}) for number in range(count)]
    found = {"put": _each(count, lambda: [one.make(step, build) for step in steps])}
    other = Store(root)
    found["find"] = _each(count, lambda: [other.find(step) for step in steps])
    found["gc"] = _each(count, lambda: collect(root, dry_run=False))
    left = len(list((root / "objects").iterdir()))
    return {
        "milliseconds": {name: round(value, 3) for name, value in found.items()},
        "artifacts": count,
        "left": left,
    }


def _each(count: int, work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["submodel", "whole", "store"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=HERE / "config.json")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    arguments = parser.parse_args()
    config = json.loads(arguments.config.read_text())
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for part in arguments.parts:
        before = os.getloadavg()[0]
        found = {"submodel": submodel, "whole": whole, "store": store}[part](folder, config[part])
        machine = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), "nice": os.nice(0),
                   "load_before": round(before, 1), "load_after": round(os.getloadavg()[0], 1)}  # fmt: skip
        results[part] = {"config": config[part], "machine": machine, **found}
        arguments.out.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        print(part, json.dumps(results[part]), flush=True)


if __name__ == "__main__":
    main()
