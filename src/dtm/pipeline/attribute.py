"""`dtm attribute RUN`: which portion costs or helps which benchmark, by merging again without each; nothing trains."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ConfigError, StoreError
from dtm.foundations.files import read_json, write_json
from dtm.foundations.mirror import open_store
from dtm.foundations.seeds import derive
from dtm.foundations.statistics import bootstrap_ratio
from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Model
from dtm.foundations.urls import is_url
from dtm.pipeline import failing, weighing
from dtm.pipeline.checks import check
from dtm.pipeline.display import Display
from dtm.pipeline.evaluating import formats
from dtm.pipeline.mirroring import give_back, here
from dtm.pipeline.origin import reopen
from dtm.pipeline.steps import Steps, Work
from dtm.pipeline.verbs import Run
from dtm.pipeline.weighing import Merging

FORMAT, LEVEL = 1, 0.95
FILE = "attribution.json"
SHOWN = (FILE, "results.json", "report.html")
WITHOUT = "dtm.pipeline.attribute:without"
NOTE = (
    "difference = all portions - without this one, on the same items, with a 95 % interval; of the loss, the sign is "
    "turned, so that above 0 the portion always helps. p is corrected over all tasks and portions (Holm)."
)


def attribute(run_folder: Path | str, *, quiet: bool = False) -> dict[str, Any]:
    """Merge without each portion, score on the run's tasks, write `attribution.json` and return its content.

    The run's results.json and report get it too. The other sub-models keep their weights. Raises StoreError where a
    sub-model is no longer in the store, ConfigError where the run has fewer than two.
    """
    folder = here(run_folder)
    checked = check(file := reopen(folder, str(run_folder) if is_url(run_folder) else None))
    store, display = open_store(file.store), Display(quiet=quiet)
    launcher = checked.launch.open(folder / "workers.log")
    try:
        unseen, gone = Display(quiet=True), _dropped(folder)
        plan = Run(checked, Steps(store, launcher, unseen, planning=True, folder=folder), dropped=dict(gone))
        _refuse_training(plan, folder)
        run = Run(checked, Steps(store, launcher, display, planning=False, folder=folder), dropped=gone)
        merged = checked.recipe(run, checked.config)
        artifacts = _scored(run, merged)
        evaluated = run.evaluate([merged])
    finally:
        display.close()
        launcher.close()
    result = {
        "format": FORMAT, "note": NOTE, "merged": merged.digest, "weights": merged.facts["merge"]["weights"],
        "portions": [_portion(rows) for rows in failing.kept_rows(run, run.portions)],
        "tasks": _numbered(run, _tasks(run, evaluated, artifacts)),
        "heldout": _numbered(run, _heldout(run, evaluated, artifacts)),
    }  # fmt: skip
    write_json(folder / FILE, result)
    _show_in_report(folder)
    give_back(run_folder, *(name for name in SHOWN if (folder / name).exists()))
    return result


def attached(results: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Results with the attribution that stands in their run folder, if it is of the same merged model."""
    try:
        found = read_json(folder / FILE)
    except (OSError, ValueError):
        return results
    merged = [model["digest"] for model in results["results"]["models"] if model["role"] == "merged"]
    return {**results, "attribution": found} if found.get("merged") in merged else results


def _show_in_report(folder: Path) -> None:
    """Draw the run's report again with the attribution in it, where the run has one."""
    from dtm.report import render

    if (folder / "results.json").exists():
        results = attached(read_json(folder / "results.json"), folder)
        write_json(folder / "results.json", results)
        render(results, folder)


def without(job: dict[str, Any], progress: Any) -> dict[str, Any]:
    """One merge in memory, scored, in a worker: items go to `output`/TASK.FORMAT/ and `output`/heldout/."""
    from dtm.pipeline.scoring import in_memory, measure

    progress({"stage": "merging"})
    with in_memory(job["merge"], job["scoring"]["loading"]) as merged:
        merged.write(job["weights"])
        return measure(job["scoring"], Path(job["output"]))


def show(result: dict[str, Any], console: Any) -> None:
    """A row a portion and benchmark, what costs most first."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("portion", "on", "all", "without", "difference", "p", ""):
        table.add_column(name, justify="left" if name in ("on", "") else "right", no_wrap=name != "on")
    for row in sorted([*result["tasks"], *result["heldout"]], key=lambda row: row["difference"]):
        colour = {"costs": "red", "helps": "green"}.get(row["verdict"])
        table.add_row(
            str(row["portion"]), _benchmark(row), f"{row['all']:.4f}", f"{row['without']:.4f}",
            f"{row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})",
            f"{row['p_holm']:.3f}" if "p_holm" in row else "", f"[{colour}]{row['verdict']}[/]" if colour else "",
        )  # fmt: skip
    console.print(table)
    console.print(result["note"], soft_wrap=True, markup=False)


def _benchmark(row: dict[str, Any]) -> str:
    if "source" in row:
        return f"loss, {row['source']}"
    return f"{row['task']} (chat)" if row["format"] == "chat" else row["task"]


def _refuse_training(plan: Run, folder: Path) -> None:
    """Go through the recipe without work, and raise if a sub-model would have to be trained."""
    merged = plan.checked.recipe(plan, plan.checked.config)
    missing = [work.label for work in plan.steps.planned if work.step.name == "train"]
    if missing:
        raise StoreError(f"{missing[0]} is no longer in the store, and nothing is trained here", where=folder,
                         mend="`dtm run` with the run's file trains it again; then ask again")  # fmt: skip
    if len(plan.submodels) < 2:
        raise ConfigError(f"the run has {len(plan.submodels)} sub-models, so there is none to leave out", where=folder,
                          mend="It takes a recipe that merges two or more")  # fmt: skip
    if merged.facts.get("merge", {}).get("models") != [model.name for model in plan.submodels]:
        raise ConfigError("what the run made is no merge of its sub-models, so leaving one out tells nothing",
                          where=folder, mend="It takes a recipe such as disperse_then_merge")  # fmt: skip


def _scored(run: Run, merged: Model) -> list[Artifact]:
    """The merge without portion k, scored, for every k."""
    merging = weighing.gather(run, _merging(run), failing.kept_rows(run, run.portions))
    weights = merged.facts["merge"]["weights"]
    return run.steps.make_all([_work(run, k, merging, weights) for k in range(len(run.submodels))])


def _merging(run: Run) -> Merging:
    return Merging(
        run.checked.config.merge, run.checked.merge, run.origin or run.base(), tuple(run.submodels)
    )


def _work(run: Run, k: int, whole: Merging, weights_K: Sequence[float]) -> Work:
    config, checked = run.checked.config, run.checked
    merging, weights = whole.without(k), [one for number, one in enumerate(weights_K) if number != k]
    forms, dev = formats(run), config.evaluate.heldout and run.dev is not None
    settings = {
        **merging.settings, "weights": weights, "tasks": [task.fingerprint for task in checked.tasks],
        "formats": forms, "batch_size": config.evaluate.batch_size, "model": config.model,
    }  # fmt: skip
    inputs = merging.inputs
    if dev and run.dev is not None:
        inputs["dev"] = run.dev.digest
    step = Step("attribute", settings, inputs, derive(run.seed, "evaluate"), checked.numerics, version=2)

    def arguments(claim: Claim) -> dict[str, Any]:
        return {"merge": merging.job(run), "weights": weights, "output": str(claim.output),
                "scoring": weighing.scoring_job(run, merging, checked.tasks, forms, dev=bool(dev))}  # fmt: skip

    part = failing.part_of(run.submodels[k])
    return Work(f"without portion {part}", f"merge of {len(merging.models)}", step, WITHOUT, arguments)


def _portion(rows: Any) -> dict[str, Any]:
    return {"portion": int(rows.part), "rows": rows.count, "trained_tokens": rows.trained_tokens}


def _numbered(run: Run, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the numbers of portions in place of those of the sub-models that are left."""
    return [{**row, "portion": int(failing.part_of(run.submodels[row["portion"]]))} for row in rows]


def _dropped(folder: Path) -> dict[tuple[str, str], str]:
    """The sub-models that the run does without, and why."""
    try:
        rows = read_json(folder / "results.json").get("dropped") or []
    except (OSError, ValueError):
        return {}
    return {(row["submodel"], row["digest"]): row["reason"] for row in rows}


def _tasks(run: Run, evaluated: Any, artifacts: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Paired comparisons of the merge of all with each merge without one, on each task's primary metric."""
    from dtm.evaluate.summary import comparisons, read_items, score_table, with_holm

    names = {f"without {k}": k for k in range(len(artifacts))}
    metrics = {task.name: task.metrics for task in run.checked.tasks}
    rows = []
    for form in ("raw", "chat"):
        whole = {task: read_items(one.folder) for (_, task, which), one in evaluated.items() if which == form}
        if not whole:
            continue
        results = {name: {task: read_items(artifacts[k].folder / f"{task}.{form}") for task in whole}
                   for name, k in names.items()}  # fmt: skip
        results["all"] = whole
        table = score_table(results, metrics, seed=run.seed)
        values = {(row["model"], row["task"]): row["value"] for row in table if row["primary"]}
        for row in comparisons(
            results, metrics, [("all", name) for name in names], seed=run.seed, level=LEVEL
        ):
            reached = {"all": values["all", row["task"]], "without": values[row["b"], row["task"]]}
            kept = {key: row[key] for key in ("task", "metric", "difference", "low", "high", "p", "n")}
            rows.append(
                {"portion": names[row["b"]], "format": form, **kept, **reached, "verdict": _verdict(row)}
            )
    return with_holm(rows)


def _heldout(run: Run, evaluated: Any, artifacts: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Differences of the held-out loss, nats a token, by source and over all; the interval resamples rows."""
    from dtm.evaluate.summary import read_items

    whole = [one for (_, _, form), one in evaluated.items() if form == "loss"]
    if not whole:
        return []
    all_items = read_items(whole[0].folder)
    rows = []
    for k, artifact in enumerate(artifacts):
        pairs = list(zip(all_items, read_items(artifact.folder / "heldout"), strict=True))
        pairs = [(one, other) for one, other in pairs if one["tokens"]]
        for source in [*dict.fromkeys(one["source"] for one, _ in pairs), None]:
            chosen = [pair for pair in pairs if source in (None, pair[0]["source"])]
            rows.append(
                {"portion": k, "source": source or "all", **_loss_difference(run, source or "all", chosen)}
            )
    return rows


def _loss_difference(run: Run, source: str, pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    tokens = [one["tokens"] for one, _ in pairs]
    more = [other["loss_sum"] - one["loss_sum"] for one, other in pairs]
    low, high = bootstrap_ratio(more, tokens, derive(run.seed, "attribute", source), LEVEL)
    total = sum(tokens)
    row = {"all": fsum(one["loss_sum"] for one, _ in pairs) / total,
           "without": fsum(other["loss_sum"] for _, other in pairs) / total,
           "difference": fsum(more) / total, "low": low, "high": high, "n": len(pairs)}  # fmt: skip
    return {**row, "verdict": _verdict(row)}


def _verdict(row: dict[str, Any]) -> str:
    """Of the interval alone, which is not corrected for the number of comparisons."""
    return "helps" if row["low"] > 0 else "costs" if row["high"] < 0 else "not told apart"
