"""The table that a study ends with: arms as rows, benchmarks as columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.report.wording import MISSING, plural, score, short, signed
from dtm.study import planning
from dtm.study.comparing import MEANS
from dtm.study.statement import summary

if TYPE_CHECKING:
    from rich.table import Table

SPENT = ("tokens", "steps")
MARK = {"better": "[green]▲[/]", "worse": "[red]▼[/]", "open": " ", "screened": " ", "oracle": " "}


def show(results: dict[str, Any], folder: Path | str) -> None:
    """Print a study's table and sentences and where its page is, or its plan."""
    from rich.console import Console

    console = Console(highlight=False)
    if "totals" in results:
        planning.show(results, console)
        return
    console.print(table(results))
    for sentence in results["statement"]:
        console.print(sentence, soft_wrap=True, markup=False)
    console.print(f"\nreport: {folder}/report.html", soft_wrap=True, markup=False)


def table(results: Mapping[str, Any], width: int | None = None) -> Table:
    """Scores of every arm in percent, its difference from every reference, what it cost, and whether it may claim.

    Where that is wider than `width` (columns of text, by default the terminal's) single benchmarks are left, then
    all but the mean with its differences.
    """
    import shutil

    from rich.console import Console
    from rich.measure import Measurement

    width = width or shutil.get_terminal_size().columns
    places = [row["group"] for row in results["base"]["scores"]] or _groups(results)
    whole = summary(results)
    means = [place for place in places if place == whole or place in MEANS]
    console = Console(width=10_000)
    for shown, spent in ((places, True), (means, True), (means[:1], False)):
        drawn = _table(results, shown, whole, spent=spent)
        if Measurement.get(console, console.options, drawn).maximum <= width:
            break
    return drawn


def _table(results: Mapping[str, Any], places: list[str], whole: str | None, *, spent: bool) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    references = list(dict.fromkeys(row["against"] for row in results["comparisons"] if not row["oracle"]))
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True,
                  caption=_caption(results), caption_justify="left")  # fmt: skip
    drawn.add_column("arm", no_wrap=True)
    for place in places:
        drawn.add_column(escape(place), justify="right")
    for reference in references:
        drawn.add_column(f"{escape(whole or '')} −\n{escape(reference)}", justify="right", no_wrap=True)
    for name in SPENT if spent else ():
        drawn.add_column(name, justify="right")
    if results["base"]["scores"]:
        cells = [_score(results["base"]["scores"], place) for place in places]
        drawn.add_row("base", *cells, *[""] * (len(references) + 2 * spent), style="dim")
    for arm in results["arms"]:
        drawn.add_row(
            escape(arm["name"]) + _standing(arm, results),
            *(_score(arm["scores"], place) for place in places),
            *(_difference(results, arm["name"], reference, whole) for reference in references),
            *(short(arm[name]) for name in SPENT if spent),
        )  # fmt: skip
    return drawn


def _groups(results: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["group"] for arm in results["arms"] for row in arm["scores"]))


def _score(rows: list[dict[str, Any]], place: str) -> str:
    row = next((row for row in rows if row["group"] == place), None)
    return MISSING if row is None else score(row["value"], True)


def _difference(results: Mapping[str, Any], arm: str, against: str, place: str | None) -> str:
    row = next((row for row in results["comparisons"]
                if (row["arm"], row["against"], row["group"]) == (arm, against, place)), None)  # fmt: skip
    if row is None:
        return ""
    bounds = f"{signed(row['low'], True)}, {signed(row['high'], True)}"
    return f"{MARK[row['verdict']]}{signed(row['difference'], True)}\n[dim]{bounds}[/]"


def _standing(arm: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """What the reader must know of an arm before its numbers, on a line of its own."""
    if arm["failures"]:
        number = len(arm["failures"])
        return f"\n[red]{number} of {number + len(arm['seeds'])} failed[/]"
    if arm["left_out"]:
        return "\n[dim]not run yet[/]"
    return f"\n[dim]screened, {plural(len(arm['seeds']), 'seed')}[/]" if arm["screening"] else ""


def _caption(results: Mapping[str, Any]) -> str:
    screened = any(arm["screening"] for arm in results["arms"])
    return (
        f"Percent, means over {plural(len(results['seeds']), 'seed')}. Differences with 95% intervals over seeds and "
        "items; ▲ better, ▼ worse: p < 0.05 after Holm's correction; else nothing is shown."
        + (" Screened: not under all seeds, no claim." if screened else "")
    )
