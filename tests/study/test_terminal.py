"""The table that a study ends with: every arm, in any width."""

from __future__ import annotations

import io

import pytest

from dtm.report.wording import signed
from dtm.study.terminal import table
from tests.study.made import made


@pytest.fixture(scope="module")
def results():
    return made(resamples=50)


def shown(results, width):
    from rich.console import Console

    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(table(results, width))
    return console.file.getvalue()


def test_the_wide_table_has_every_benchmark_and_difference(results):
    text = shown(results, 200)
    for benchmark in results["benchmarks"]:
        assert benchmark["group"] in text
    for row in results["comparisons"]:
        if row["group"] == "mean" and not row["oracle"]:
            assert signed(row["difference"], True) in text
    assert "screened, 1 seed" in text
    assert "▲" in text


@pytest.mark.parametrize("width", [110, 80])
def test_a_narrow_table_keeps_the_mean_its_differences_and_every_arm(results, width):
    text = shown(results, width)
    assert "world_choice" not in text
    assert all(arm["name"] in text for arm in results["arms"])
    assert max(len(line) for line in text.splitlines()) <= width
    assert ("gains" in text) == (width == 110)
    for row in results["comparisons"]:
        if row["group"] == "mean" and not row["oracle"]:
            assert signed(row["difference"], True) in text


def test_names_are_no_markup(results):
    changed = {**results, "arms": [{**results["arms"][0], "name": "[red]x"}]}
    assert "[red]x" in shown(changed, 200)
