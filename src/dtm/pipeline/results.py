"""From what the steps made to results.json: scores, comparisons, data, portions, curves, stages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dtm.foundations.files import read_json
from dtm.foundations.store import Artifact, versions
from dtm.pipeline import contamination, curating, failing, grading
from dtm.pipeline.evaluating import DevScore, dev_metric
from dtm.pipeline.growing import growing, sentences
from dtm.pipeline.made import Part, described
from dtm.pipeline.proposal import told
from dtm.pipeline.verbs import Run

FORMAT = 1
SHOWN_LINES = 3
Evaluated = Mapping[tuple[str, str, str], Artifact]


def assemble(
    run: Run, models: Sequence[Part], evaluated: Evaluated, on_dev: Mapping[str, DevScore], *, command: str
) -> dict[str, Any]:
    """The whole of results.json; `results` in it is the block that must not change between equal runs.

    `models` are (model, role) in the order of the tables, `on_dev` the scores on dev by model.
    """
    from dtm.report import statement

    results: dict[str, Any] = {
        "format": FORMAT,
        "run": _run(run, command),
        "statement": [],
        "results": {**_results(run, models, evaluated), "choices": run.choices, "dev": _dev(run, on_dev)},
        "data": _data(run),
        "portions": _portions(run),
        "split": _split(run),
        "growing": growing(run.cards, run.steps.trained()),
        "dropped": failing.dropped(run),
        "curves": _curves(models),
        "merge": _merge(models),
        "augmented": run.augmented,
        "preference": {"yields": run.yields, "steps": run.preferences},
        "stages": _stages(run),
    }
    results["statement"] = [*statement(results), *_notes(run)]
    return results


def _notes(run: Run) -> list[str]:
    """What a reader of the scores must know of this run besides them."""
    from dtm.report.preference import alarms
    from dtm.report.split import sharing

    grown = growing(run.cards, run.steps.trained())
    notes = [*sharing(_split(run).get("sharing")), *(sentences(grown) if grown else [])]
    if run.checked.config.model.get("quantization"):
        notes.append(
            "The base was quantised for training alone: merged and evaluated were unquantised weights."
        )
    now = versions()
    others: dict[str, list[str]] = {}
    for record in run.steps.records:
        for package, version in record.versions.items():
            if record.reused and now.get(package) not in (None, version):
                others.setdefault(f"{package} {version}", []).append(record.label)
    for package, labels in sorted(others.items()):
        notes.append(f"Reused from a run with {package}: {', '.join(dict.fromkeys(labels))}.")
    card = contamination.card(run)
    notes += curating.notes(curating.card(run.cards))
    return [*notes, *grading.notes(run.cards), *alarms(run.preferences), *contamination.notes(card)]


def _run(run: Run, command: str) -> dict[str, Any]:
    checked = run.checked
    config = checked.config
    return {
        "name": checked.file.name, "recipe": checked.recipe.method.name, "base": config.base, "seed": config.seed,
        "k": len(run.portions) or None, "command": command,
        "dtm": versions().get("disperse-then-merge"), "versions": versions(),
        "config": config.model_dump(mode="json"), "config_text": checked.file.document.text,
        "threads": checked.threads, "workers": checked.launch.workers, "device": checked.device,
    }  # fmt: skip


def _results(run: Run, models: Sequence[Part], evaluated: Evaluated) -> dict[str, Any]:
    from dtm.evaluate.summary import comparisons, primary_metric, read_items, score_table, with_holm

    metrics = {task.name: task.metrics for task in run.checked.tasks}
    tasks, scores, compared = [], [], []
    for form in ("raw", "chat"):
        by_model: dict[str, dict[str, Any]] = {}
        for (model, task, which), artifact in evaluated.items():
            if which == form:
                by_model.setdefault(model, {})[task] = read_items(artifact.folder)
        if not by_model:
            continue
        some = next(iter(by_model))
        for task in run.checked.tasks:
            primary = primary_metric(by_model[some][task.name], task.metrics)
            tasks.append(_task(task, form, evaluated[some, task.name, form].facts, primary))
        scores += [{**row, "format": form} for row in score_table(by_model, metrics, seed=run.seed)]
        pairs = _pairs(models)
        compared += [{**row, "format": form} for row in comparisons(by_model, metrics, pairs, seed=run.seed)]
    losses = [(model, artifact) for (model, _, form), artifact in evaluated.items() if form == "loss"]
    return {
        "models": [described(model, role) for model, role in models],
        "tasks": tasks,
        "scores": scores,
        "comparisons": with_holm(compared),
        "heldout": [row for model, artifact in losses for row in _heldout(model, artifact)],
    }


def _pairs(models: Sequence[Part]) -> list[tuple[str, str]]:
    """The recipe's result, which stands last, against base and every baseline; each baseline against the base."""
    base, baselines = ([model.name for model, role in models if role == one] for one in ("base", "baseline"))
    made = [model.name for model, role in models if role == "merged"] or baselines[-1:]
    others = [name for name in baselines if name not in made]
    return [(a, b) for a in made for b in base + others] + [(a, b) for a in others for b in base]


def _dev(run: Run, on_dev: Mapping[str, DevScore]) -> list[dict[str, Any]]:
    metric = dev_metric(run)
    return [
        {"model": name, "metric": metric, "score": one.score, "tasks": one.tasks, "loss": one.loss}
        for name, one in on_dev.items()
    ]


def _task(task: Any, form: str, facts: Mapping[str, Any], metric: str | None) -> dict[str, Any]:
    path = task.spec.get("path")
    return {
        "name": task.name, "kind": task.kind, "format": form, "metric": metric, "n": facts["n"],
        "chance": facts.get("chance"), "source": Path(path).name if path else None,
    }  # fmt: skip


def _heldout(model: str, artifact: Artifact) -> Iterator[dict[str, Any]]:
    sources = artifact.facts["sources"]
    for source, facts in sorted(sources.items(), key=lambda item: (item[0] != "all", item[0])):
        yield {"model": model, "source": source, **facts}


def _data(run: Run) -> dict[str, Any]:
    loaded, rendered = run.cards["load"], run.cards["render"]
    card, tokens = read_json(loaded.folder / "card.json"), read_json(rendered.folder / "card.json")["sources"]
    unrendered = Counter(line["source"] for line in _once(rendered.folder))
    sources: dict[str, dict[str, Any]] = {}
    for one in card["sources"]:
        before = sources.setdefault(one["source"], {"source": one["source"], "license": one.get("license")})
        for name in ("read", "kept", "dropped", "duplicates"):
            before[name] = before.get(name, 0) + one[name]
    for name, source in sources.items():
        source["kept"] -= unrendered[name]
        source["dropped"] += unrendered[name]
        source |= {count: tokens.get(name, {}).get(count) for count in ("tokens", "trained_tokens")}
    reasons: dict[str, dict[str, Any]] = {}
    for lines in (_lines(loaded.folder / "dropped.jsonl"), _once(rendered.folder)):
        for line in lines:
            reason = _kind(line["reason"])
            entry = reasons.setdefault(reason, {"reason": reason, "count": 0, "examples": []})
            entry["count"] += 1
            if len(entry["examples"]) < SHOWN_LINES:
                entry["examples"].append({"file": line.get("file"), "line": line.get("line")})
    kept = card["kept"] - unrendered.total()  # rows that `weight` repeats count once
    curated = curating.card(run.cards)
    trained = curated["rows"] if curated else rendered.facts["train"]["rows"]
    ordered = sorted(reasons.values(), key=lambda entry: (-entry["count"], entry["reason"]))
    return {"read": card["read"], "kept": kept, "train": trained,
            "dev": rendered.facts["dev"]["rows"], "sources": list(sources.values()), "reasons": ordered,
            "contamination": contamination.card(run), "curation": curated}  # fmt: skip


def _once(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows that rendering dropped, those that `weight` repeats once."""
    seen = set()
    for line in _lines(folder / "dropped.jsonl"):
        place = (line["source"], line["file"], line["line"])
        if place not in seen:
            seen.add(place)
            yield line


def _kind(reason: str) -> str:
    """The reason without what is special to the row: `duplicate of a.jsonl:3` is a `duplicate`."""
    return "duplicate" if reason.startswith("duplicate of") else reason.split(" (")[0]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _portions(run: Run) -> list[dict[str, Any]]:
    return read_json(run.cards["disperse"].folder / "card.json") if "disperse" in run.cards else []


def _split(run: Run) -> dict[str, Any]:
    if "disperse" not in run.cards:
        return {}
    found = read_json(run.cards["disperse"].folder / "quality.json")
    proposal = told(run.cards)
    return {**found, "proposal": proposal} if proposal else found


def _curves(models: Sequence[Part]) -> list[dict[str, Any]]:
    curves = []
    for model, _ in models:
        path = model.folder / "training.json"
        if path.exists():
            curves.append({"model": model.name, "points": read_json(path)["curve"]})
    return curves


def _merge(models: Sequence[Part]) -> dict[str, Any] | None:
    """How the recipe's result was merged, if it was."""
    return next((model.facts["merge"] for model, role in models if role == "merged"), None)


def _stages(run: Run) -> list[dict[str, Any]]:
    return [
        {"name": record.label, "what": record.what, "seconds": round(record.seconds, 2), "reused": record.reused,
         "tokens": record.facts.get("tokens"), "steps": record.facts.get("steps"), "key": record.step.key}
        for record in run.steps.records
    ]  # fmt: skip
