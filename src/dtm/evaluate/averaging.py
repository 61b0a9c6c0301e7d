"""The mean over several models of what each scored, item by item: what one of them scores on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum
from pathlib import Path
from typing import Any

from dtm.evaluate.heldout import summarise
from dtm.evaluate.summary import read_items
from dtm.foundations.files import canonical, write_json, write_text

Facts = Mapping[str, Any]


def mean_of_tasks(folders: Sequence[Path], facts_K: Sequence[Facts], output: Path) -> dict[str, Any]:
    """From the folders of K models on one task: items whose metrics are means, and the means of the scores.

    Returns facts as `harness.evaluate` does. An item keeps what was asked, not what K models answered.
    """
    items = []
    for row in zip(*map(read_items, folders), strict=True):
        metrics = {name: _mean([one["metrics"][name] for one in row]) for name in row[0]["metrics"]}
        items.append({"doc_id": row[0]["doc_id"], "prompt": row[0]["prompt"], "target": row[0]["target"],
                      "metrics": metrics})  # fmt: skip
    scores = {
        metric: {"value": _mean([facts["scores"][metric]["value"] for facts in facts_K]), "n": first["n"]}
        for metric, first in facts_K[0]["scores"].items()
    }
    _write(output, items, scores)
    return {**facts_K[0], "scores": scores}


def mean_of_rows(folders: Sequence[Path], output: Path) -> dict[str, Any]:
    """The same of held-out rows: each row's loss is the mean over the models."""
    rows = zip(*map(read_items, folders), strict=True)
    items = [{**row[0], "loss_sum": _mean([one["loss_sum"] for one in row])} for row in rows]
    scores = {"sources": summarise(items)}
    _write(output, items, scores)
    return scores


def _mean(values: Sequence[Any]) -> Any:
    """Of numbers; what is none is the first model's."""
    numbers = all(isinstance(value, int | float) for value in values)
    return fsum(values) / len(values) if numbers else values[0]


def _write(output: Path, items: Sequence[Facts], scores: Facts) -> None:
    write_text(output / "items.jsonl", "".join(canonical(item) + "\n" for item in items))
    write_json(output / "scores.json", scores)
