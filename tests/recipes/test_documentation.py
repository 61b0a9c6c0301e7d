"""docs/recipes.md names every recipe with its paper and its settings, and no other; docs/papers.md each file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dtm.recipes  # noqa: F401 - registers them
from dtm.foundations.registry import registry

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", re.M)
ROWS = {
    name: (paper, settings) for name, _, paper, settings in ROW.findall((DOCS / "recipes.md").read_text())
}


def test_the_table_holds_the_recipes_and_no_other():
    assert ROWS.keys() == set(registry("recipe"))


@pytest.mark.parametrize("name", sorted(registry("recipe")))
def test_a_recipe_stands_there_with_its_paper_and_settings(name):
    method = registry("recipe")[name]
    paper, settings = ROWS[name]
    assert paper == (method.paper or "-")
    told = set(re.findall(r"`(\w+)` \(|the best of `(\w+)` \(", settings))
    assert {one or other for one, other in told} == method.settings.keys()
    assert method.title.endswith(".")
    if name != "vanilla_sft":  # nobody's method
        assert f"{name}.py`" in (DOCS / "papers.md").read_text()
