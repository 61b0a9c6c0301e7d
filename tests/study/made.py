"""A made-up study with a tax in it: random, seeded, of any size, through the same assembly as a real one.

The base knows what tuning may cost; training teaches the rest and costs late; arms lie where `ARMS` says, on the share
of the training that they are like.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from dtm.study.arms import Arms, Trial
from dtm.study.file import read
from dtm.study.items import Benchmark, Cell, Items
from dtm.study.results import assemble
from dtm.study.running import Outcome

TASKS = {"world_choice": "cost", "world_recall": "cost", "reasoning": "cost", "format": "gain", "taught_facts": "gain",
         "arithmetic": None}  # fmt: skip
ARMS = {  # name: (recipe, skill at what it teaches, what it keeps of what the base knew, tokens against vanilla)
    "vanilla": ("vanilla_sft", 0.85, 0.55, 1.0),
    "early-stopped": ("early_stopping", 0.62, 0.86, 1.0),
    "dtm-random-4": ("disperse_then_merge", 0.76, 0.83, 1.0),
    "dtm-kmeans-4": ("disperse_then_merge", 0.74, 0.82, 1.0),
    "wise-ft": ("wise_ft", 0.66, 0.84, 1.0),
    "uniform-soup": ("uniform_soup", 0.86, 0.62, 3.0),
    "sequential": ("sequential", 0.83, 0.50, 1.0),
    "ensemble": ("ensemble", 0.77, 0.82, 1.0),
    "dtm-random-8": ("disperse_then_merge", 0.58, 0.88, 1.0),
}
SCREENED = ("dtm-random-8",)
SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
BASE = {"name": "base", "role": "base", "tokens": 0, "steps": 0, "digest": "0" * 64}
START = {"cost": 0.72, "gain": 0.12, None: 0.35}


def made(
    seed: int = 0,
    *,
    seeds: int = 5,
    items: int = 200,
    arms: int = len(ARMS),
    curve: bool = True,
    curves: tuple[str, ...] = (),
    named: bool = True,
    tasks: int = len(TASKS),
    resamples: int = 500,
    edit: Any = None,
) -> dict[str, Any]:
    """The content of study.json of a made-up study; `edit(results of outcomes)` may spoil some of them."""
    random = np.random.default_rng(seed)
    names = list(ARMS)[:arms]
    kinds = dict(list(TASKS.items())[:tasks])
    file = read({
        "study": "made-up", "run": {"base": "model", "data": [{"path": "x.jsonl"}]}, "seeds": list(range(seeds)),
        "arms": [_arm(name) for name in names],
        "gains": [task for task, kind in kinds.items() if kind == "gain"] if named else [],
        "costs": [task for task, kind in kinds.items() if kind == "cost"] if named else [],
        "curves": list(curves),
        "output_dir": "studies/made-up",
    })  # fmt: skip
    studied = Arms(file)
    difficulty = {task: random.normal(0, 1.5, items) for task in kinds}
    found, outcomes = Items(), []

    def answer(cell: Cell, level: dict[str | None, float]) -> None:
        for task, kind in kinds.items():
            luck = random.normal(0, 0.25)
            right = random.logistic(0, 1, items) < _logit(level[kind]) * 1.8 + difficulty[task] + luck
            records = [
                {"doc_id": n, "prompt": f"{n}", "metrics": {"acc": float(value)}}
                for n, value in enumerate(right)
            ]
            found.add(Benchmark(task, "raw", "acc", 0.25), cell, records, Path("none"))

    answer(Cell("base"), START)
    for name in names:
        recipe, gain, keep, tokens = ARMS[name]
        for trial in studied.final_trials(studied.by_name[name], {}):
            shares = SHARES if curve and name in ("vanilla", *curves) else ()
            for share in shares:
                answer(Cell(name, trial.seed, share), _level(gain, keep, share))
            answer(Cell(name, trial.seed), _level(gain, keep, 1.0))
            outcomes.append(_outcome(trial, recipe, tokens, shares, random))
    if edit:
        edit(outcomes)
    said = {"asked": "Question: What is the capital of France?", "wanted": "Paris", "given": "Lyon"}
    answers = SimpleNamespace(**{name: lambda *_, text=text: text for name, text in said.items()})
    return assemble(
        studied, {}, outcomes, found, answers, command="dtm study made-up.yaml", resamples=resamples
    )


def _arm(name: str) -> dict[str, Any]:
    return {"name": name, "recipe": ARMS[name][0], **({"seeds": [0]} if name in SCREENED else {})}


def _level(gain: float, keep: float, share: float) -> dict[str | None, float]:
    learnt = 1 - np.exp(-4 * share)
    lost = max(0.0, share - 0.2) / 0.8
    return {"gain": START["gain"] + (gain - START["gain"]) * learnt,
            "cost": START["cost"] * (1.08 * (1 - lost) + keep * lost) if share < 1 else START["cost"] * keep,
            None: 0.35 + 0.1 * learnt}  # fmt: skip


def _logit(share: float) -> float:
    share = min(max(share, 0.01), 0.99)
    return float(np.log(share / (1 - share)))


def _outcome(trial: Trial, recipe: str, tokens: float, shares: tuple[float, ...], random: Any) -> Outcome:
    """What a run would have left, as far as a study reads it."""
    role = (
        "merged" if recipe in ("disperse_then_merge", "ensemble", "uniform_soup", "wise_ft") else "baseline"
    )
    spent = round(tokens * 41_000 + trial.seed * 37)
    own = {
        "name": recipe,
        "role": role,
        "tokens": spent,
        "steps": round(120 * tokens),
        "digest": f"{trial.seed:064x}",
    }
    if recipe == "ensemble":
        own["parts"] = 4
    kept = [
        {**own, "name": f"{recipe}@{round(120 * share)}", "role": "checkpoint", "share": share}
        for share in shares
    ]
    loss = {"base": 2.9} | {
        model["name"]: 2.9 - 1.1 * (1 - np.exp(-5 * model.get("share", 1.0))) for model in [own, *kept]
    }
    heldout = [
        {"model": name, "source": "all", "loss": float(value + random.normal(0, 0.01))}
        for name, value in loss.items()
    ]
    points = [{"step": step, "loss": float(2.9 - 1.6 * (1 - np.exp(-4 * step / 120)) + random.normal(0, 0.04))}
              for step in range(1, 121)]  # fmt: skip
    results = {
        "results": {"models": [BASE, own, *kept], "tasks": [], "heldout": heldout},
        "curves": [{"model": own["name"], "points": points}],
        "stages": [{"seconds": 12.5, "reused": False}],
    }  # fmt: skip
    return Outcome(trial, Path("nowhere"), results)
