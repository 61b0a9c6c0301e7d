"""What a run would do: `--dry-run`. Cheap steps are done for real (they are kept), costly ones are planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dtm.foundations.files import read_json
from dtm.foundations.launch import Job
from dtm.foundations.models import free_bytes
from dtm.pipeline.display import duration, size
from dtm.pipeline.estimates import peak_disk
from dtm.pipeline.growing import growing, sentences
from dtm.pipeline.proposal import told
from dtm.pipeline.rates import SIGNALS, Rates
from dtm.pipeline.steps import Record
from dtm.pipeline.verbs import Run

PROBE_STEPS = 5


def plan(run: Run, *, probe: bool) -> dict[str, Any]:
    """Rows of the plan, and totals.

    Times are as the store knows them of such steps, or of training measured (`probe`); those of evaluation and
    merging are else guessed, which `guess` says, and `untimed` names the steps of which nothing is known.
    `evaluation_seconds` are of held-out losses too.
    """
    checked = run.checked
    rates = Rates(run.steps.store, checked.threads, checked.device, _probe(run) if probe else None)
    rows = [_row(record, rates) for record in run.steps.records]
    redo = [row for row in rows if not row["reused"]]
    trains = [row for row in redo if row["kind"] == "train"]
    signals = [row for row in redo if row["kind"] in SIGNALS and row["planned"]]
    scored = [row for row in redo if row["kind"] in ("evaluate", "heldout") and row["planned"]]
    workers = checked.launch.workers
    seconds = [row["seconds"] for row in trains]
    planned = [record for record in run.steps.records if record.planned and record.step.name == "train"]
    return {
        "steps": rows, "growing": growing(run.cards, run.steps.trained()),
        "proposal": told(run.cards), "sharing": _sharing(run),
        "totals": {
            "redo": len(redo), "reuse": len(rows) - len(redo),
            "disk": peak_disk((record.facts for record in run.steps.records if not record.reused), workers),
            "disk_free": free_bytes(run.steps.store.root),
            "memory": max([0, *(row["memory"] or 0 for row in trains)]) * min(workers, max(1, len(trains))),
            "training_seconds": sum(seconds) / max(1, min(workers, len(trains))) if None not in seconds else None,
            "training_tokens": sum(row["tokens"] or 0 for row in trains),
            "tokens_per_second": rates.training_rate(planned[0]) if planned else None,
            "evaluation_seconds": sum(row["seconds"] for row in scored) / max(1, min(workers, len(scored))),
            "llm": [f"{record.label}: {record.facts['llm']}" for record in run.steps.records
                    if record.planned and record.facts.get("llm")],
            "evaluation_guessed": any(row["guess"] for row in scored),
            "untimed": [row["step"] for row in signals if row["seconds"] is None],
        },
    }  # fmt: skip


def show(result: dict[str, Any], console: Any) -> None:
    """The plan as a table with a sentence under it."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("step", "", "why", "rows", "tokens", "steps", "time", "disk"):
        table.add_column(name, justify="left" if name in ("step", "", "why") else "right", overflow="fold")
    for row in result["steps"]:
        table.add_row(
            row["step"], "[dim]reuse[/]" if row["reused"] else "[yellow]do[/]" if row["planned"] else "[green]done[/]",
            row["why"], *(_number(row[name]) for name in ("rows", "tokens", "steps")),
            f"{'~' if row['guess'] else ''}{duration(row['seconds'])}" if row["seconds"] is not None else "",
            size(row["disk"]) if row["disk"] else "",
        )  # fmt: skip
    console.print(table)
    from dtm.report.split import proposal, sharing

    for line in (*proposal(result["proposal"]), *sharing(result["sharing"])):
        console.print(line, soft_wrap=True, markup=False)
    if result["growing"]:
        console.print(" ".join(sentences(result["growing"])), soft_wrap=True)
    totals = result["totals"]
    time = totals["training_seconds"]
    words = [f"{totals['redo']} steps to do, {totals['reuse']} reused or done."]
    if totals["training_tokens"]:
        words.append(
            f"Training: about {duration(time)} at {totals['tokens_per_second']:,.0f} tokens/s a worker."
            if time is not None else "Training time is not known: --probe measures it."
        )  # fmt: skip
        words.append(
            f"Peak memory of training: very roughly {size(totals['memory'])}, if every batch is full."
        )
    if totals["evaluation_seconds"]:
        how = (
            "a guess from the sizes of model and tasks"
            if totals["evaluation_guessed"]
            else "as such steps took before"
        )
        words.append(f"Evaluation: about {duration(totals['evaluation_seconds'])}, {how}.")
    if totals["untimed"]:
        words.append(f"Not timed, since no such step was done here before: {', '.join(totals['untimed'])}.")
    words += [f"To ask, {one}." for one in totals["llm"]]
    words.append(f"Disk: {size(totals['disk'])} at most, {size(totals['disk_free'])} free.")
    console.print(" ".join(words))


def _sharing(run: Run) -> dict[str, Any] | None:
    """What portions share, where they are dispersed already."""
    artifact = run.cards.get("disperse")
    if artifact is None or artifact.pending:
        return None
    return read_json(artifact.folder / "quality.json").get("sharing")


def _row(record: Record, rates: Rates) -> dict[str, Any]:
    facts = record.facts
    seconds, guess = rates.seconds(record) if record.planned else (None, False)
    return {
        "step": record.label, "kind": record.step.name, "reused": record.reused, "planned": record.planned,
        "why": record.why, "rows": facts.get("rows", facts.get("items")),
        "tokens": facts.get("input_tokens", facts.get("tokens")),
        "steps": facts.get("steps") if isinstance(facts.get("steps"), int) else None, "seconds": seconds,
        "guess": guess, "disk": facts.get("disk"), "memory": facts.get("memory"), "key": record.step.key,
    }  # fmt: skip


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _probe(run: Run) -> float | None:
    """Train five steps of the first pending training in a worker, and measure tokens a second."""
    import shutil
    import tempfile

    store = run.steps.store.root / "work"
    scratch = Path(tempfile.mkdtemp(prefix="probe-", dir=store))
    try:
        claim: Any = _Scratch(scratch)
        works = [work for work in run.steps.planned if work.step.name == "train"]
        if not works:
            return None
        arguments = _readable(run, works[0].arguments(claim))
        job = Job("probe", works[0].function, {**arguments, "name": "probe", "probe": PROBE_STEPS + 1},
                  spread=works[0].spread)  # fmt: skip
        times: list[float] = []

        def on_event(event: Any) -> None:
            import time

            if event.kind == "progress" and event.data.get("stage") == "training":
                times.append(time.monotonic())
            run.steps.display.event(event)

        run.steps.display.queue("probe", f"{PROBE_STEPS} steps")
        result = run.steps.launcher.map([job], on_event=on_event)[0]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if len(times) < 2:
        return None
    a_step = (times[-1] - times[0]) / (len(times) - 1)  # the first step warms up, and is not counted
    return result["input_tokens"] / result["steps"] / a_step


def _readable(run: Run, arguments: dict[str, Any]) -> dict[str, Any]:
    """The job with what stands for rows and weights that are only planned: all the rows, and the run's base."""
    there = {"examples": run.cards["render"].folder / "train.arrow", "base": run.base().folder}
    waits = {name: str(path) for name, path in there.items() if not Path(arguments[name]).exists()}
    return {**arguments, **waits}


class _Scratch:
    """Stands in for a store's claim, so that a probe leaves nothing in the store."""

    def __init__(self, folder: Path) -> None:
        self.work, self.output, self.scratch = folder, folder / "output", folder / "scratch"
        self.output.mkdir()
        self.scratch.mkdir()
