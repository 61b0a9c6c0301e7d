"""What every arm scored on every item under every seed: collected from run folders, kept as one Parquet file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.foundations.errors import DataError, MissingInput
from dtm.study.running import Outcome, subject

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

BASE = "base"


@dataclass(frozen=True)
class Benchmark:
    """One task in one prompt format, by its primary metric."""

    task: str
    format: str
    metric: str
    chance: float | None = None


@dataclass(frozen=True)
class Cell:
    """Whose values: an arm under a seed, at the end or at a share of its training. The base has no seed."""

    arm: str
    seed: int | None = None
    share: float | None = None


@dataclass
class Items:
    """`values[benchmark][cell]` is a float64 array [N]; all cells of a benchmark answered the items in `ids`."""

    ids: dict[Benchmark, list[str]] = field(default_factory=dict)
    values: dict[Benchmark, dict[Cell, np.ndarray]] = field(default_factory=dict)
    prompts: dict[Benchmark, list[str]] = field(default_factory=dict)
    paths: dict[Benchmark, dict[Cell, Path]] = field(default_factory=dict)  # where the answers stand

    @property
    def benchmarks(self) -> list[Benchmark]:
        return list(self.ids)

    @property
    def shares(self) -> list[Benchmark]:
        """The benchmarks whose metric is a share of items: those that a mean may be taken over."""
        from dtm.report.wording import is_share

        return [one for one, cells in self.values.items()
                if is_share(one.metric, (float(values.mean()) for values in cells.values()))]  # fmt: skip

    def add(self, benchmark: Benchmark, cell: Cell, records: Sequence[dict[str, Any]], where: Path) -> None:
        """Take a model's answers; raises DataError where it was not asked what the others were."""
        import numpy as np

        ids = [str(record["doc_id"]) for record in records]
        prompts = [record.get("prompt", "") for record in records]
        if (
            self.ids.setdefault(benchmark, ids) != ids
            or self.prompts.setdefault(benchmark, prompts) != prompts
        ):
            raise DataError("this model was not asked the same items in the same words as the others",
                            where=where, mend="Set what is evaluated under `run`, for all arms")  # fmt: skip
        values = np.array([record["metrics"][benchmark.metric] for record in records], dtype=np.float64)
        self.values.setdefault(benchmark, {})[cell] = values
        self.paths.setdefault(benchmark, {})[cell] = where

    def mean(self, benchmark: Benchmark, cell: Cell) -> float | None:
        found = self.values.get(benchmark, {}).get(cell)
        return None if found is None else float(found.mean())

    def table(self) -> pa.Table:
        """Columns arm, seed, share (null: the finished model), task, format, metric, item, value; in a fixed order."""
        import numpy as np
        import pyarrow as pa

        parts = []
        for benchmark, cells in self.values.items():
            ids = pa.array(self.ids[benchmark], pa.string())
            for cell, values in cells.items():
                n = len(values)
                words = {
                    "arm": cell.arm,
                    "task": benchmark.task,
                    "format": benchmark.format,
                    "metric": benchmark.metric,
                }
                columns: dict[str, Any] = {
                    name: pa.DictionaryArray.from_arrays(
                        pa.array(np.zeros(n, dtype=np.int32)), pa.array([word])
                    )
                    for name, word in words.items()
                }
                columns["seed"] = pa.array([cell.seed] * n, pa.int64())
                columns["share"] = pa.array([cell.share] * n, pa.float64())
                columns |= {"item": ids, "value": pa.array(values, pa.float64())}
                parts.append(pa.table(columns))
        order = ["arm", "seed", "share", "task", "format", "metric", "item", "value"]
        return pa.concat_tables(parts).unify_dictionaries().select(order) if parts else pa.table({})

    def save(self, path: Path) -> None:
        """Write the table atomically."""
        import os

        import pyarrow.parquet as parquet

        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        parquet.write_table(self.table(), temporary, compression="zstd")
        os.replace(temporary, path)


def collect(outcomes: Sequence[Outcome]) -> Items:
    """The values of all finished runs: of each arm's own model, of the base, and of checkpoints along the way."""
    items = Items()
    for outcome in outcomes:
        if outcome.results is None:
            continue
        block = outcome.results["results"]
        for task in block["tasks"]:
            benchmark = Benchmark(task["name"], task["format"] or "raw", task["metric"], task["chance"])
            for name, cell in _cells(outcome):
                if cell.arm == BASE and cell in items.values.get(benchmark, {}):
                    continue
                path = outcome.folder / "evaluation" / name / f"{task['name']}.{benchmark.format}.items.jsonl"
                if path.exists():
                    items.add(benchmark, cell, read_items(path), path)
    return items


def read_items(path: Path) -> list[dict[str, Any]]:
    """The lines of one model's answers to one task."""
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError:
        raise MissingInput(
            "there are no per-item results", where=path, mend="`dtm study` makes them"
        ) from None


def _cells(outcome: Outcome) -> Iterator[tuple[str, Cell]]:
    """The models of a run that the study reads, with what they are to it."""
    trial, results = outcome.trial, outcome.results or {}
    own = subject(results)
    for model in results["results"]["models"]:
        if model["role"] == "base":
            yield model["name"], Cell(BASE)
        elif model["name"] == own:
            yield model["name"], Cell(trial.arm.name, trial.seed)
        elif model["role"] == "checkpoint":
            yield model["name"], Cell(trial.arm.name, trial.seed, model["share"])
