"""Prints the tables of README.md from results.json: `python benchmarks/first_run/table.py [results.json]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SHOWN = ("base", "vanilla_sft", "merged", "submodel-0", "submodel-1", "submodel-2", "submodel-3")


def tables(results: dict[str, Any]) -> str:
    """Two Markdown tables: scores with 95 % intervals, and paired differences."""
    block = results["results"]
    tasks = [(task["name"], task["metric"]) for task in block["tasks"]]
    scores = {(row["model"], row["task"], row["metric"]): row for row in block["scores"]}
    losses = {row["model"]: row for row in block["heldout"] if row["source"] == "all"}
    models = {row["name"]: row for row in block["models"]}
    head = [
        "model",
        "tokens with loss",
        "steps",
        *(f"{name} ({metric})" for name, metric in tasks),
        "held-out loss",
    ]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in SHOWN:
        cells = [name, f"{models[name]['tokens']:,}", f"{models[name]['steps']:,}"]
        cells += [_score(scores[name, task, metric], 100, 1) for task, metric in tasks]
        lines.append(
            f"| {' | '.join([*cells, _score({'value': losses[name]['loss'], **losses[name]}, 1, 3)])} |"
        )
    lines += ["", "| task | difference | points | 95 % interval | only the first right | only the second | p (Holm) |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in block["comparisons"]:
        low, high = 100 * row["low"], 100 * row["high"]
        cells = [row["task"], f"{row['a']} - {row['b']}", f"{100 * row['difference']:+.1f}"]
        cells += [
            f"[{low:+.1f}, {high:+.1f}]",
            str(row["only_a"]),
            str(row["only_b"]),
            f"{row['p_holm']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _score(row: dict[str, Any], scale: int, digits: int) -> str:
    value, low, high = (f"{scale * row[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results.json"
    print(tables(json.loads(path.read_text(encoding="utf-8"))))
