"""The closing table at several widths: nothing cut, numbers right, names inert."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dtm.report import table


def printed(results, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table(results, width))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_it_fits_and_cuts_nothing(results, width):
    text = printed(results, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for name in ("svamp", "vanilla_sft", "merged", "mean of 8"):
        assert name in text
    for row in results["results"]["scores"]:
        if row["primary"] and not row["model"].startswith("submodel"):
            assert f"{100 * row['value']:.1f}" in text
            assert f"{100 * row['low']:.1f}–{100 * row['high']:.1f}" in text
    assert f"{results['results']['models'][-1]['tokens']:,}" in text


def test_only_significant_differences_are_marked(results):
    significant = sum(row["p_holm"] < 0.05 for row in results["results"]["comparisons"])
    caption = "▲ better, ▼ worse"
    text = printed(results, 200)
    marks = text.count("▲") + text.count("▼") - 2
    assert caption in text
    assert marks == significant > 0


def test_markup_and_control_characters_in_names_are_text(results, poisoned):
    text = printed(poisoned(results, "[red]x[/red][link=file:///]\x1b[31m"), 300)
    assert "[red]x[/red][link=file:///]" in text
    assert "\x1b" not in text


def test_a_run_without_evaluation():
    assert "No task was evaluated." in printed({"format": 1}, 60)
