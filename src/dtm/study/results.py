"""From what the runs left to study.json; everything in it but `timing` is deterministic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dtm.recipes  # noqa: F401 - registers them
from dtm.foundations.registry import registry
from dtm.foundations.statistics import RESAMPLES
from dtm.foundations.store import versions
from dtm.study import references
from dtm.study.arms import Arms
from dtm.study.asked import Answers
from dtm.study.comparing import COSTS, MEAN, Comparer, Group, corrected, group_mean, groups
from dtm.study.curve import curve
from dtm.study.file import Arm, recipe_of
from dtm.study.flips import flips
from dtm.study.heldout import heldout
from dtm.study.items import BASE, Items
from dtm.study.references import Contender
from dtm.study.running import Outcome, Tuned, dev_score, subject
from dtm.study.schema import FORMAT, validated
from dtm.study.splits import splits
from dtm.study.statement import statement

LEAST_SEEDS = 2  # with fewer, seeds cannot be told from luck


def assemble(
    arms: Arms,
    tuned: Mapping[str, Tuned],
    outcomes: Sequence[Outcome],
    items: Items,
    answers: Answers,
    *,
    command: str,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """The content of study.json; see docs/study.md."""
    config = arms.file.config
    by_arm = {name: [one for one in outcomes if one.trial.arm.name == name] for name in arms.by_name}
    done = {
        name: [one.trial.seed for one in found if one.results is not None] for name, found in by_arm.items()
    }
    claiming = {name for name, seeds in done.items()
                if len(seeds) == len(config.seeds) >= LEAST_SEEDS}  # fmt: skip
    comparer = Comparer(items, groups(items, config.gains, config.costs), resamples)
    against = arms.file.against
    contenders = [references.arm(name, seeds) for name, seeds in done.items() if seeds]
    points = references.best_points(by_arm[against], items)
    base = references.base(config.seeds)
    others = [one for one in contenders if one.name == against] + [base, *points]
    rows = [row for other in others for one in contenders if one.name != other.name
            for row in comparer.rows(one, other)]  # fmt: skip
    comparisons = corrected(rows, claiming, len(config.seeds), comparer.lower_is_better)
    results: dict[str, Any] = {
        "format": FORMAT,
        "study": config.study,
        "command": command,
        "seeds": list(config.seeds),
        "against": against,
        "gains": list(config.gains),
        "costs": list(config.costs),
        "grid": config.grid.model_dump(mode="json") if config.grid else None,
        "benchmarks": [_benchmark(group, items) for group in comparer.groups if group.single],
        "base": {"scores": _scores(base, comparer)},
        "arms": [
            _arm(arm, arms, by_arm[name], tuned, name in claiming, comparer) for name, arm in arms.by_name.items()
        ],
        "references": [_reference(one, comparer) for one in points],
        "curve": curve(by_arm[against], items, comparer.groups),
        "curves": [found for name in arms.file.curves if name != against
                   and (found := curve(by_arm[name], items, comparer.groups))],
        "comparisons": comparisons,
        "tax": _tax(comparisons, against),
        "flips": flips(contenders, items, answers),
        "heldout": heldout(outcomes),
        "splits": splits(outcomes),
        "versions": versions(),
        "commit": commit(arms.file.root),
        "timing": {"seconds": {name: round(_seconds(found), 1) for name, found in by_arm.items()}},
    }  # fmt: skip
    results["statement"] = statement(results)
    return validated(results)


def _arm(
    arm: Arm,
    arms: Arms,
    outcomes: Sequence[Outcome],
    tuned: Mapping[str, Tuned],
    claim: bool,
    comparer: Comparer,
) -> dict[str, Any]:
    done = [one for one in outcomes if one.results is not None]
    recipe_name = recipe_of(arm.overrides) or recipe_of(arms.file.config.run) or "disperse_then_merge"
    models = {one.trial.seed: _own_model(one) for one in done}
    contender = references.arm(arm.name, [one.trial.seed for one in done])
    return {
        "name": arm.name,
        "recipe": recipe_name,
        "overrides": arm.overrides,
        "claim": claim,
        "screening": not claim,
        "seeds": [one.trial.seed for one in done],
        "failures": [{"seed": one.trial.seed, "error": one.error} for one in outcomes if one.error],
        "left_out": [one.trial.seed for one in outcomes if one.results is None and not one.error],
        "grid": _grid(arm, arms, tuned),
        "point": outcomes[0].trial.point if outcomes else {},
        "scores": _scores(contender, comparer),
        "tokens": _mean([model["tokens"] for model in models.values()]),
        "steps": _mean([model["steps"] for model in models.values()]),
        "inference": _inference(recipe_name, models.values()),
        "choices": [{"seed": one.trial.seed, **choice} for one in done
                    for choice in (one.results or {})["results"].get("choices") or ()],
        "digests": {str(seed): model["digest"] for seed, model in models.items()},
    }  # fmt: skip


def _grid(arm: Arm, arms: Arms, tuned: Mapping[str, Tuned]) -> dict[str, Any] | None:
    """The dev scores of every point, and whether the best one lies at an end of a range; None without a grid."""
    decider = arms.tuned_as(arm)
    found = tuned.get(decider.name) if decider else None
    if found is None:
        return None
    points = []
    for index, point in enumerate(arms.points):
        tried = [one for one in found.outcomes if one.trial.point == point]
        scores = {
            str(one.trial.seed): score and score[0] for one in tried for score in [dev_score(one.results)]
        }
        errors = [
            {"seed": one.trial.seed, "error": one.error, "diverged": one.diverged}
            for one in tried
            if one.error
        ]
        points.append({"values": point, "score": found.scores[index], "by_seed": scores, "failures": errors})
    chosen = None if found.scores[found.best] is None else found.best
    edges = [] if chosen is None else edges_of(arms.points[chosen], arms.file.config.grid.over)  # type: ignore[union-attr]
    return {
        "tuned_as": found.arm.name,
        "on": found.on,
        "points": points,
        "chosen": chosen,
        "at_the_edge": edges,
    }


def edges_of(point: Mapping[str, Any], over: Mapping[str, Sequence[Any]]) -> list[str]:
    """Keys of numbers whose chosen value is the least or the greatest that was tried."""
    found = []
    for key, values in over.items():
        numbers = [
            value for value in values if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        if len(numbers) == len(values) > 1 and point[key] in (min(numbers), max(numbers)):
            found.append(key)
    return found


def _scores(one: Contender, comparer: Comparer) -> list[dict[str, Any]]:
    """One row a benchmark or mean: the value over seeds, its interval over seeds and items, each seed's value."""
    rows = []
    for group in comparer.groups:
        found = comparer.score(one, group)
        if found is None:
            continue
        cells = {seed: one.cells[seed] for seed in one.seeds(comparer.items)}
        by_seed = {str(seed): group_mean(comparer.items, group, cell) for seed, cell in cells.items()}
        rows.append({
            **_place(group), "value": found.value, "low": found.low, "high": found.high,
            "by_seed": {} if one.name == BASE else by_seed,
        })  # fmt: skip
    return rows


def _reference(one: Contender, comparer: Comparer) -> dict[str, Any]:
    """A best point of the curve: which share of the training it was under each seed, and its scores."""
    shares = {str(seed): 1.0 if cell.share is None else cell.share for seed, cell in one.cells.items()}
    return {"name": one.name, "oracle": one.oracle, "shares": shares, "scores": _scores(one, comparer)}


def _tax(comparisons: Sequence[Mapping[str, Any]], against: str) -> list[dict[str, Any]]:
    """What an arm lost, on the tasks that tuning may cost (else in the mean): against the base, and the peak.

    A tax is positive; the arm `against` has one against the peak of its own training.
    """
    groups = dict.fromkeys(row["group"] for row in comparisons)
    group = next((name for name in (COSTS, MEAN) if name in groups), next(iter(groups), None))
    return [
        {"arm": row["arm"], "against": row["against"], "oracle": row["oracle"], "group": group,
         "tax": 0.0 - row["difference"], "low": 0.0 - row["high"], "high": 0.0 - row["low"], "p_holm": row["p_holm"],
         "verdict": row["verdict"]}
        for row in comparisons if row["group"] == group and row["against"] != against
    ]  # fmt: skip


def _benchmark(group: Group, items: Items) -> dict[str, Any]:
    one = group.benchmarks[0]
    return {**_place(group), "metric": one.metric, "items": len(items.ids[one]), "chance": one.chance,
            "in_mean": one in items.shares}  # fmt: skip


def _place(group: Group) -> dict[str, Any]:
    one = group.benchmarks[0]
    return {"group": group.name, "task": one.task if group.single else None,
            "format": one.format if group.single else None}  # fmt: skip


def _own_model(outcome: Outcome) -> dict[str, Any]:
    assert outcome.results is not None
    name = subject(outcome.results)
    return next(model for model in outcome.results["results"]["models"] if model["name"] == name)


def _inference(recipe: str, models: Iterable[Mapping[str, Any]]) -> float | None:
    """How many models an answer takes, of a recipe whose models answer together; None for one."""
    if not registry("recipe")[recipe].properties.get("ensemble"):
        return None
    return _mean([model.get("parts") for model in models])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _seconds(outcomes: Sequence[Outcome]) -> float:
    """What the steps of an arm's runs took when they were done; steps that arms share count for each."""
    return math.fsum(stage["seconds"] for one in outcomes if one.results for stage in one.results["stages"])


def commit(folder: Path) -> str | None:
    """The commit of the git checkout that the study file stands in, `+` behind it where files differ; else None."""
    import subprocess

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    head = git("rev-parse", "HEAD")
    return (
        None if head is None else head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    )
