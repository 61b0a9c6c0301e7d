"""docs/curate.md and docs/regularise.md name every method with its paper; docs/papers.md each file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dtm.curate
import dtm.train.regularise  # noqa: F401
from dtm.foundations.registry import registry

DOCS = Path(__file__).parents[2] / "docs"
PLACES = {"curate": "curate", "regularise": "train/regularise"}


@pytest.mark.parametrize("kind", sorted(PLACES))
def test_every_method_has_its_line_with_its_paper_and_no_other_has(kind):
    lines = (DOCS / f"{kind}.md").read_text(encoding="utf-8").split("\n\n")
    table = next(block for block in lines if block.startswith("| method"))
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", table, re.MULTILINE))
    assert set(rows) == set(registry(kind))
    papers = (DOCS / "papers.md").read_text(encoding="utf-8")
    for name, method in registry(kind).items():
        assert method.paper is None or method.paper in rows[name]
        assert f"| {kind} `{name}` |" in papers
        assert f"`{PLACES[kind]}/{name}.py`" in papers
