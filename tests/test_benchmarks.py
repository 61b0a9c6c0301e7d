"""Figures in the documentation are those of the committed results."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from dtm.report import validate

FIRST = Path(__file__).parent.parent / "benchmarks" / "first_run"


def test_first_runs_tables_are_made_from_its_results():
    spec = importlib.util.spec_from_file_location("first_run_table", FIRST / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    results = json.loads((FIRST / "results.json").read_text(encoding="utf-8"))
    validate(results)
    assert module.tables(results) in (FIRST / "README.md").read_text(encoding="utf-8")
