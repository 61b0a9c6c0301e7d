"""The table that a run ends with."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from dtm.report.board import ALPHA, Board, Difference, Mean, Row, Score, board
from dtm.report.schema import complete
from dtm.report.wording import MISSING, count, score, signed

if TYPE_CHECKING:
    from rich.table import Table

MARK = {"better": "[green]▲[/] ", "worse": "[red]▼[/] "}


def table(results: dict[str, Any], width: int | None = None) -> Table:
    """Scores, paired differences, means over tasks, tokens and steps, with 95% intervals; shares in percent.

    Tasks are rows and models are columns; where that is wider than `width` (columns of text, by default the
    terminal's), each task has a row a model instead, which fits 40. Sub-models are left to the page.
    """
    from rich.console import Console
    from rich.measure import Measurement

    scores = board(complete(results))
    if not scores.rows:
        return _nothing()
    width = width or shutil.get_terminal_size().columns
    drawn = _wide(scores)
    console = Console(width=10_000)
    fits = Measurement.get(console, console.options, drawn).maximum <= width
    return drawn if fits else _tall(scores)


def _wide(scores: Board) -> Table:
    drawn = _frame(scores)
    drawn.add_column("task")
    for name in [*scores.shown, *(f"{scores.subject} −\n{other}" for other in scores.against)]:
        drawn.add_column(plain(name), justify="right", no_wrap=True)
    for line in _lines(scores):
        if isinstance(line, Mean):
            drawn.add_section()
        drawn.add_row(
            _title(line, scores),
            *(_score(line, name) for name in scores.shown),
            *(_difference(line, name) for name in scores.against),
        )
    drawn.add_section()
    for what in ("tokens", "steps"):
        spent = [count(scores.models[name][what]) for name in scores.shown]
        if any(cell != MISSING for cell in spent):
            drawn.add_row(f"trained {what}", *spent, *[""] * len(scores.against), style="dim")
    return drawn


def _tall(scores: Board) -> Table:
    drawn = _frame(scores)
    drawn.add_column("task, model", overflow="fold")
    drawn.add_column("score", justify="right")
    if scores.against:
        drawn.add_column(plain(f"{scores.subject} −"), justify="right")
    for line in _lines(scores):
        drawn.add_section()
        drawn.add_row(_title(line, scores))
        for name in scores.shown:
            drawn.add_row(f" {plain(name)}", _score(line, name), _difference(line, name))
    drawn.add_section()
    for name in scores.shown:
        model = scores.models[name]
        drawn.add_row(
            plain(name),
            f"{count(model['tokens'])} tokens",
            f"{count(model['steps'])} steps",
            style="dim",
        )
    return drawn


def _nothing() -> Table:
    from rich.table import Table

    drawn = Table.grid()
    drawn.add_row("No task was evaluated.")
    return drawn


def _frame(scores: Board) -> Table:
    from rich import box
    from rich.table import Table

    return Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
        caption=_caption(scores),
        caption_justify="left",
    )


def _caption(scores: Board) -> str:
    lines = ["95% intervals; shares in percent."]
    if scores.against:
        lines.append(
            f"▲ better, ▼ worse: paired test, p < {ALPHA} after Holm's correction; else nothing is shown."
        )
    if scores.of_role("submodel"):
        lines.append("Sub-models: see the report.")
    return " ".join(lines)


def _lines(scores: Board) -> list[Row | Mean]:
    return [*scores.rows, *scores.means]


def _title(line: Row | Mean, scores: Board) -> str:
    form = f" ({line.format})" if scores.several_formats else ""
    if isinstance(line, Mean):
        return f"mean of {line.tasks} tasks{form}"
    size = "" if line.n is None else f" n={line.n:,}"
    return f"{plain(line.task + form)}\n[dim]{plain(line.metric)}{size}[/]"


def _score(line: Row | Mean, name: str) -> str:
    cell, share = line.scores.get(name), _share(line)
    if cell is None or cell.value is None:
        return MISSING
    bounds = f"{score(cell.low, share)}–{score(cell.high, share)}"
    return score(cell.value, share) + _bounds(cell, bounds)


def _difference(line: Row | Mean, name: str) -> str:
    cell, share = line.differences.get(name), _share(line)
    if cell is None or cell.value is None:
        return ""
    mark = MARK.get(cell.verdict, "") if isinstance(cell, Difference) else ""
    bounds = f"{signed(cell.low, share)}, {signed(cell.high, share)}"
    return mark + signed(cell.value, share) + _bounds(cell, bounds)


def _bounds(cell: Score | Difference, text: str) -> str:
    return "" if cell.low is None or cell.high is None else f"\n[dim]{text}[/]"


def _share(line: Row | Mean) -> bool:
    return isinstance(line, Mean) or line.is_share


def plain(text: str) -> str:
    """Names come from files: rich's markup in them is text, and control characters are spaces."""
    from rich.markup import escape

    return escape("".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text))
