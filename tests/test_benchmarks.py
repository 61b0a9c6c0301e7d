"""Figures in the documentation are those of the committed results."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from dtm.report import validate

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
FIRST, MERGE = BENCHMARKS / "first_run", BENCHMARKS / "merge"


def load(path):
    """A script of a benchmark as a module."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(MERGE.glob("results-*.json")), ids=lambda path: path.stem)
def test_merge_tables_are_made_from_their_results(path):
    table = load(MERGE / "table.py").table(json.loads(path.read_text(encoding="utf-8")))
    assert table in (MERGE / "README.md").read_text(encoding="utf-8")


def test_first_runs_tables_are_made_from_its_results():
    module = load(FIRST / "table.py")
    results = json.loads((FIRST / "results.json").read_text(encoding="utf-8"))
    validate(results)
    assert module.tables(results) in (FIRST / "README.md").read_text(encoding="utf-8")
