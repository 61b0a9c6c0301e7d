"""Variants beside their seeds as files for other trainers: sft.jsonl, dpo.jsonl, kto.jsonl, in TRL's forms.

pairs    (x: y over y'), unless y' follows x as well; (x': y' over y), unless y follows x' as well
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dtm.foundations.files import canonical

Row = dict[str, Any]
SEED, VARIANT = "seed", "variant"


def contrasts(parents: Mapping[str, Row], variants: Iterable[Row]) -> Iterator[tuple[Row, Row, str]]:
    """(the row that is answered, the row whose response is rejected, which of both it is), for each valid pair."""
    for variant in variants:
        told = json.loads(variant["meta"])["augment"]
        parent = parents[variant["parent"]]
        if not told.get("new_follows", True):
            yield parent, variant, SEED
        if not told.get("old_follows", True):
            yield variant, parent, VARIANT


def export(parents: Mapping[str, Row], variants: list[Row], output: Path) -> None:
    """Write the three files."""
    seeds = {row["parent"]: parents[row["parent"]] for row in variants}
    rows = [*seeds.values(), *variants]
    pairs = list(contrasts(parents, variants))
    _write(output / "sft.jsonl", ({"messages": row["messages"], "source": row["source"], "family": row["family"]}
                                  for row in rows))  # fmt: skip
    _write(output / "dpo.jsonl", ({
        "prompt": asked["messages"][:-1], "chosen": asked["messages"][-1:], "rejected": other["messages"][-1:],
        "family": asked["family"]} for asked, other, _ in pairs))  # fmt: skip
    _write(output / "kto.jsonl", _judged(rows, pairs))


def _judged(rows: Iterable[Row], pairs: Iterable[tuple[Row, Row, str]]) -> Iterator[Row]:
    """Each row's own response is wanted; the response of a row that differs in one constraint is not."""
    for row in rows:
        yield {
            "prompt": row["messages"][:-1],
            "completion": row["messages"][-1:],
            "label": True,
            "family": row["family"],
        }
    for asked, other, _ in pairs:
        yield {"prompt": asked["messages"][:-1], "completion": other["messages"][-1:], "label": False,
               "family": asked["family"]}  # fmt: skip


def _write(path: Path, rows: Iterable[Row]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(canonical(row) + "\n" for row in rows)
