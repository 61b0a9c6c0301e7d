"""The portions in a terminal: a row each, and the figures of the split under them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from dtm.report.schema import complete
from dtm.report.split import cosine, lines, sentence
from dtm.report.terminal import plain
from dtm.report.wording import MISSING, count, short

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 16  # portions; of more the largest and the smallest
SOURCE = 22  # columns of text of a portion's main source
WIDE = 72  # columns of text from which on there is room for a portion's main source


def portions_table(results: dict[str, Any], width: int | None = None) -> Table:
    """Rows, tokens, likeness of the rows, main source and typical terms of each portion; then balance, similarity,
    agreement with sources, near-duplicates and overlap with the tasks.

    `width` is in columns of text, by default the terminal's.
    """
    from rich import box
    from rich.table import Table

    results = complete(results)
    width = width or shutil.get_terminal_size().columns
    wide = width >= WIDE
    said = [*lines(results), sentence(results["data"]["contamination"])]
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, caption_justify="left",
                  caption="\n".join(plain(line) for line in said if line))  # fmt: skip
    drawn.add_column("portion", justify="right")
    for name in ("rows", "tokens", "alike"):
        drawn.add_column(name, justify="right", no_wrap=True)
    if wide:
        drawn.add_column("main source", no_wrap=True, max_width=SOURCE)
    rows = _rows(results, wide)
    taken = [
        max(map(len, column)) for column in zip(("portion", "rows", "tokens", "alike"), *rows, strict=False)
    ]
    room = width - sum(taken) - (SOURCE if wide else 0) - 3 * (len(taken) + 2)
    drawn.add_column("typical terms", no_wrap=True, overflow="ellipsis", max_width=max(room, 8))
    for row in rows:
        drawn.add_row(*map(plain, row))
    return drawn


def _rows(results: dict[str, Any], wide: bool) -> list[list[str]]:
    portions, alike = results["portions"], results["split"]["similarity"]["portions"]
    drawn = []
    for number, portion in enumerate(portions):
        inside = alike[number][number] if number < len(alike) and number < len(alike[number]) else None
        cells = [str(number), count(portion["rows"]), short(portion["tokens"]),
                 MISSING if inside is None else cosine(inside)]  # fmt: skip
        drawn.append([*cells, *([_source(portion)] if wide else []), ", ".join(portion["terms"])])
    if len(drawn) <= SHOWN:
        return drawn
    order = sorted(range(len(drawn)), key=lambda number: (-(portions[number]["rows"] or 0), number))
    largest, smallest = sorted(order[: SHOWN // 2]), sorted(order[-SHOWN // 2 :])
    rest = len(drawn) - SHOWN
    between = ["…", f"{rest} more", *[""] * (len(drawn[0]) - 2)]
    return [*(drawn[number] for number in largest), between, *(drawn[number] for number in smallest)]


def _source(portion: dict[str, Any]) -> str:
    """The largest source and its share."""
    sources = {name: rows or 0 for name, rows in portion["sources"].items()}
    whole = sum(sources.values())
    if not whole:
        return MISSING
    name = max(sources, key=lambda one: (sources[one], one))
    return f"{100 * sources[name] / whole:.0f} % {name}"
