"""Overlap of the data with the tasks of `evaluate`, as a step; and with `decontaminate`, the rows that go for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.foundations.errors import ConfigError
from dtm.foundations.files import canonical, read_json, write_json
from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Examples

if TYPE_CHECKING:
    from dtm.config import RunFile
    from dtm.pipeline.verbs import Run

FILE = "contaminated.jsonl"
LISTED = 20  # items of a task that a row's line names
REASON = "overlaps with a task"
LABEL = re.compile(r"^\s*(question|q)\s*:|\b(answer|a)\s*:\s*$", re.IGNORECASE)  # of prompts, and of no data


def compared_tasks(file: RunFile, chosen: Sequence[Any] | None) -> list[Any]:
    """The tasks that rows are compared with: those of `decontaminate`, else `chosen`, those of `evaluate`.

    Raises ConfigError where rows are to be dropped and no task has items: lm-eval's are fetched when they are scored.
    """
    from dtm.evaluate.tasks import resolve

    wanted = file.config.decontaminate
    tasks = list(chosen or ())
    if wanted is not None and wanted.tasks is not None:

        def where(key: str) -> object:
            return file.where(key.replace("evaluate.tasks", "decontaminate.tasks", 1))

        tasks = resolve(wanted.tasks, file.root, limit=file.config.evaluate.limit, where=where)
    if wanted is None or chosen is None or any(task.items for task in tasks):
        return tasks
    raise ConfigError(
        "there is no task of a local file to compare rows with", where=file.where("decontaminate"),
        mend="Give a task's `path` in evaluate.tasks or decontaminate.tasks, or leave decontaminate out",
    )  # fmt: skip


def measure_overlap(run: Run, loaded: Artifact) -> Artifact | None:
    """contaminated.jsonl, a line a row that overlaps, and card.json; None where no task has items."""
    tasks = [task for task in run.checked.compared if task.items]
    if not tasks:
        return None
    ngram = _ngram(run)
    settings = {"ngram": ngram, "tasks": {task.name: task.fingerprint for task in tasks}}
    step = Step("contamination", settings, {"examples": loaded.manifest["files"]["examples.arrow"]})
    return run.steps.make(
        "contamination", "overlap with the tasks", step,
        lambda claim: _build(tasks, ngram, loaded.folder, claim, run.progress("contamination")),
    )  # fmt: skip


def to_drop(run: Run, overlaps: Artifact | None) -> Path | None:
    """The file of the rows that are to go, where the run file wants that."""
    return overlaps.folder / FILE if overlaps and run.checked.config.decontaminate else None


def reasons(contaminated: Path) -> dict[str, str]:
    """The reason of each row of contaminated.jsonl, by its id."""
    found = {}
    with open(contaminated, encoding="utf-8") as file:
        for line in map(json.loads, file):
            shared = ", ".join(f"{name}: {one['count']}" for name, one in sorted(line["tasks"].items()))
            found[line["id"]] = f"{REASON} ({shared})"
    return found


def card(run: Run) -> dict[str, Any]:
    """What `data.contamination` in results.json holds."""
    if "contamination" not in run.cards:
        return {}
    hub = [task.name for task in run.checked.compared if not task.items]
    found = read_json(run.cards["contamination"].folder / "card.json")
    return {**found, "dropped": run.checked.config.decontaminate is not None, "not_compared": hub}


def notes(found: dict[str, Any]) -> list[str]:
    """What a reader of the scores must know of it."""
    hit = [task for task in found.get("tasks", ()) if task["found"]]
    if found.get("dropped") or not hit:
        return []
    listed = ", ".join(f"{task['task']} {task['found']:,} of {task['items']:,}" for task in hit)
    return [f"The training data holds items of the tasks ({found['ngram']} words in a row, or all of a shorter item): "
            f"{listed}. contaminated.jsonl lists the rows; the key decontaminate drops them."]  # fmt: skip


def _ngram(run: Run) -> int:
    from dtm.config import Decontaminate

    return (run.checked.config.decontaminate or Decontaminate()).ngram


def _build(
    tasks: Sequence[Any], ngram: int, loaded: Path, claim: Claim, progress: Callable[..., None]
) -> dict[str, Any]:
    import numpy as np

    from dtm.data import read_places
    from dtm.data.contamination import overlaps

    claim.empty()
    examples = Examples.open(loaded / "examples.arrow")
    found = overlaps(
        examples, {task.name: [_said(task, item) for item in task.items] for task in tasks}, ngram=ngram,
        progress=progress,
    )  # fmt: skip
    rows = np.unique(found.pairs[:, 0])
    hit = examples.take(rows)
    ids = hit.column("id")
    places = read_places(loaded / "places.arrow", ids) if ids else {}
    edges = np.append(np.searchsorted(found.pairs[:, 0], rows), len(found.pairs))
    with open(claim.output / FILE, "w", encoding="utf-8") as file:
        for number, (identity, source) in enumerate(zip(ids, hit.column("source"), strict=True)):
            pairs = found.pairs[edges[number] : edges[number + 1], 1:]
            name, line = places[identity]
            shared = {
                tasks[task].name: _items(tasks[task], pairs[pairs[:, 0] == task, 1])
                for task in np.unique(pairs[:, 0])
            }
            record = {"id": identity, "file": name, "line": line, "source": source, "tasks": shared}
            file.write(canonical(record) + "\n")
    told = []
    for number, task in enumerate(tasks):
        pairs = found.pairs[found.pairs[:, 1] == number]
        told.append({"task": task.name, "items": len(task.items), "compared": found.compared[number],
                     "found": len(np.unique(pairs[:, 2])), "rows": len(np.unique(pairs[:, 0]))})  # fmt: skip
    found_in = {"ngram": ngram, "read": len(examples), "rows": len(rows), "tasks": told}
    write_json(claim.output / "card.json", found_in)
    return {"rows": len(examples), "contaminated": len(rows)}


def _items(task: Any, places: Any) -> dict[str, Any]:
    """Items of a task by their rows in its file, the first of many."""
    return {"count": len(places), "items": [task.items[place].row for place in places[:LISTED].tolist()]}


def _said(task: Any, item: Any) -> list[str]:
    """What an item says that a row might: the question without its label, and with the right answer behind it."""
    question = LABEL.sub(" ", item.context)
    if task.kind == "lettered_choice":
        return [question.split("\nA. ")[0], question]
    if item.continuations:
        answer = item.continuations[item.gold if len(item.continuations) > 1 else 0]
    else:
        answer = item.answers[0] if item.answers else ""
    return [question, f"{question} {answer}"]
