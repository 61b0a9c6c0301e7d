"""A made-up but realistic results.json: random, seeded, of any size, hostile on request."""

from __future__ import annotations

import math
import random
import re
from typing import Any

import pytest

from tests.report import insight, splits

HOSTILE = '</script><script>window.pwned=1</script><img src=x onerror="window.pwned=1">\'"{{7*7}}&amp;'
TASKS = ("facts_choice", "facts_recall", "arithmetic", "format_following", "arc_easy", "piqa", "openbookqa",
         "svamp", "winogrande", "sciq", "boolq", "hellaswag")  # fmt: skip
SOURCES = (
    "facts",
    "arithmetic",
    "rewriting",
    "dialogue",
    "extraction",
    "ordering",
    "dolly",
    "lists",
    "poems",
    "code",
)
WORDS = re.findall(r"\w+", """
capital river author atomic number country state symbol written longest list rewrite polite sentence
add subtract total remain order alphabet extract name date city population published
""")  # fmt: skip


def make(
    seed: int = 0, *, k: int = 4, tasks: int = 8, sources: int = 6, points: int = 40, baseline: bool = True
) -> dict[str, Any]:
    """Results of a run with `k` sub-models on `tasks` tasks."""
    random_ = random.Random(seed)
    names = [TASKS[i] if i < len(TASKS) else f"mmlu_subject_{i}" for i in range(tasks)]
    origins = [SOURCES[i] if i < len(SOURCES) else f"source-{i}" for i in range(sources)]
    portions = [_portion(random_, index, origins) for index in range(k)]
    models = _models(portions, baseline)
    scores, comparisons = _scores(random_, models, names)
    stages = [("load", 2.31), ("disperse", 4.02), ("train", 61.5 * k), ("merge", 6.4), ("evaluate", 144.0)]
    config = f"recipe: disperse_then_merge\nbase: acme/small-135M\ndisperse: {{k: {k}}}\nseed: {seed}\n"
    return {
        "format": 1,
        "run": {
            "name": "first", "recipe": "disperse_then_merge", "base": "acme/small-135M", "seed": seed, "k": k,
            "command": "dtm run examples/first.yaml", "dtm": "0.1.0", "threads": 1, "workers": 2,
            "device": "cpu",
            "versions": {"torch": "2.13.0", "transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2"},
            "config": {"recipe": "disperse_then_merge", "seed": seed}, "config_text": config,
        },
        "statement": [],
        "results": {
            "models": models, "scores": scores, "comparisons": comparisons,
            "tasks": [{"name": name, "kind": ("multiple_choice", "exact_match")[i % 2], "format": "raw",
                       "metric": "acc" if i % 2 == 0 else "exact_match", "n": 40 + 60 * (i % 4),
                       "chance": 0.25 if i % 2 == 0 else None, "source": f"{name}.jsonl"}
                      for i, name in enumerate(names)],
            "heldout": [_heldout(random_, model, source) for model in models for source in ["all", *origins]],
        },
        "data": _data(random_, origins, portions),
        "portions": portions,
        "split": splits.split(k, origins),
        "curves": [_curve(random_, model, points) for model in models
                   if model["role"] in ("baseline", "submodel")],
        "merge": {"method": "linear", "settings": {"density": 0.5}, "weights": [1 / k] * k, "space": "weight",
                  "export": "model", "paper": "arXiv:2405.13432", "tensors": 272, "dtype": "float32",
                  "inspection": without_tensors(insight.inspection(k)), "search": insight.search(k)},
        "attribution": insight.attribution(k),
        "stages": [{"name": name, "what": f"{name} everything", "seconds": seconds, "reused": name == "load",
                    "tokens": 412_332 if name == "train" else None,
                    "steps": 90 * k if name == "train" else None}
                   for name, seconds in stages],
    }  # fmt: skip


def without_tensors(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "tensors"}


def _portion(random_: random.Random, index: int, origins: list[str]) -> dict[str, Any]:
    shares = {origin: random_.randint(1, 400) for origin in origins}
    rows = sum(shares.values())
    examples = [{"instruction": " ".join(random_.sample(WORDS, 9)).capitalize() + "?",
                 "response": " ".join(random_.sample(WORDS, 14)) + "."} for _ in range(3)]  # fmt: skip
    return {"index": index, "rows": rows, "tokens": rows * 61, "trained_tokens": rows * 23, "sources": shares,
            "terms": random_.sample(WORDS, 10), "examples": examples}  # fmt: skip


def _models(portions: list[dict[str, Any]], baseline: bool) -> list[dict[str, Any]]:
    total = sum(portion["trained_tokens"] for portion in portions)
    models = [{"name": "base", "role": "base", "tokens": 0, "steps": 0}]
    if baseline:
        models.append(
            {"name": "vanilla_sft", "role": "baseline", "tokens": total, "steps": 90 * len(portions)}
        )
    models += [{"name": f"submodel-{portion['index']}", "role": "submodel",
                "tokens": portion["trained_tokens"], "steps": 90} for portion in portions]  # fmt: skip
    models.append({"name": "merged", "role": "merged", "tokens": total, "steps": 90 * len(portions)})
    return [{**model, "digest": f"{number:064x}"} for number, model in enumerate(models, 0xABCDEF0123)]


def _scores(
    random_: random.Random, models: list[dict[str, Any]], names: list[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    gains = {"base": 0.0, "baseline": 0.05, "submodel": 0.03, "merged": 0.07}
    scores, comparisons = [], []
    for number, task in enumerate(names):
        n, metric = 40 + 60 * (number % 4), "acc" if number % 2 == 0 else "exact_match"
        start, slope = random_.uniform(0.15, 0.7), random_.choice([-0.8, 0.3, 1, 2, 3])
        values = {}
        for model in models:
            right = round(n * min(max(start + slope * gains[model["role"]] + random_.gauss(0, 0.02), 0), 1))
            values[model["name"]] = right / n
            scores.append(_row(model["name"], task, metric, right, n, True))
            if metric == "acc":
                scores.append(_row(model["name"], task, "acc_norm", max(right - 2, 0), n, False))
        for other in [model["name"] for model in models if model["role"] in ("base", "baseline")]:
            difference = values["merged"] - values[other]
            half = 1.96 * math.sqrt(0.25 / n)
            p = math.erfc(abs(difference) / half * 1.96 / math.sqrt(2))
            comparisons.append({"task": task, "format": "raw", "metric": metric, "a": "merged",
                                "b": other, "difference": difference, "low": difference - half,
                                "high": difference + half,
                                "p": p, "p_holm": min(1.0, 4 * p), "only_a": 9, "only_b": 4, "n": n})  # fmt: skip
    return scores, comparisons


def _row(model: str, task: str, metric: str, right: int, n: int, primary: bool) -> dict[str, Any]:
    share, z = right / n, 1.959964
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return {"model": model, "task": task, "format": "raw", "metric": metric, "value": share, "n": n,
            "low": centre - half, "high": centre + half, "primary": primary}  # fmt: skip


def _heldout(random_: random.Random, model: dict[str, Any], source: str) -> dict[str, Any]:
    start = {"base": 2.4, "baseline": 1.9, "submodel": 2.05, "merged": 1.95}[model["role"]]
    loss = start + random_.gauss(0, 0.08)
    return {"model": model["name"], "source": source, "loss": loss, "low": loss - 0.06, "high": loss + 0.06,
            "rows": 60, "tokens": 1403}  # fmt: skip


def _curve(random_: random.Random, model: dict[str, Any], points: int) -> dict[str, Any]:
    rows, tokens = [], model["tokens"] or 0
    for index in range(1, points + 1):
        share = index / points
        loss = 1.55 + 1.3 * math.exp(-6 * share) + random_.gauss(0, 0.05)
        rows.append({"step": index * model["steps"] // points or index, "epoch": share, "loss": loss,
                     "learning_rate": 3e-4 * (1 - share), "grad_norm": 0.8 + random_.random(),
                     "tokens": int(tokens * share)})  # fmt: skip
    return {"model": model["name"], "points": rows}


def _data(random_: random.Random, origins: list[str], portions: list[dict[str, Any]]) -> dict[str, Any]:
    sources = []
    for origin in origins:
        kept, dropped, twice = (
            sum(p["sources"][origin] for p in portions),
            random_.randint(0, 9),
            random_.randint(0, 5),
        )
        sources.append({"source": origin, "read": kept + dropped + twice, "kept": kept, "dropped": dropped + twice,
                        "duplicates": twice, "tokens": kept * 61, "trained_tokens": kept * 23,
                        "license": random_.choice(["apache-2.0", "cc-by-nc-4.0", None])})  # fmt: skip
    places = [{"file": "mixture/facts.jsonl", "line": line} for line in (17, 230, 1044)]
    reasons = [{"reason": reason, "count": number, "examples": places}
               for reason, number in (("empty answer", 12), ("broken JSON", 3), ("too long", 9))]  # fmt: skip
    return {"read": sum(s["read"] for s in sources), "kept": sum(s["kept"] for s in sources),
            "sources": sources, "reasons": reasons, "contamination": splits.contamination()}  # fmt: skip


def poison(value: Any, text: str = HOSTILE) -> Any:
    """The same results with every free text made hostile, the keys that are data as well.

    Enumerated words and numbers stay.
    """
    if isinstance(value, dict):
        return {
            key: {f"{name}{text}": poison(item[name], text) for name in item}
            if key in ("sources", "versions", "layers") and isinstance(item, dict)
            else item
            if key in ("role", "format", "kind", "verdict") or (key == "search" and isinstance(item, str))
            else poison(item, text)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [poison(item, text) for item in value]
    return f"{value}{text}" if isinstance(value, str) else value


@pytest.fixture
def results() -> dict[str, Any]:
    return make()


@pytest.fixture
def make_results():
    return make


@pytest.fixture
def poisoned():
    return poison
