"""`report.html`: one page with everything in it, that opens offline and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.foundations.files import write_text
from dtm.report import attribution, figures, merging, preference, sections, split, tax_curve
from dtm.report.board import ALPHA, board
from dtm.report.curves import curves
from dtm.report.dropping import dropped
from dtm.report.html import environment, style
from dtm.report.schema import complete, validate
from dtm.report.statement import statement

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent
STYLES = ("page.css", "merging.css", "tax_curve.css", "split.css")
SCRIPTS = ("page.js", "split.js")


def render(results: dict[str, Any], folder: Path) -> Path:
    """Write `report.html` for these results into `folder`, atomically, and return its path.

    Raises DataError where `results` breaks RESULTS_SCHEMA. Names, rows and texts in it may be hostile: all
    are escaped, and the page's Content-Security-Policy lets no script but ours run and nothing load.
    """
    path = Path(folder) / "report.html"
    write_text(path, page(results))
    return path


def page(results: dict[str, Any]) -> str:
    """The page as HTML; the same results give the same bytes."""
    validate(results)
    results = complete(results)
    scores = board(results)
    colours = sections.colours(scores)
    lines = results["statement"] or statement(results)
    script = style(*SCRIPTS)
    text = template("page.html.jinja").render(
        run=results["run"],
        headline=lines[0],
        statement=lines[1:],
        dropped=dropped(results["dropped"], results["run"]["k"]),
        facts=sections.facts(results, scores),
        board=scores,
        colours=colours,
        scores=figures.score_rows(scores),
        every_score=figures.every_score(results),
        tax=tax_curve.of_run(scores, colours),
        curves=curves(results, colours, scores.of_role("submodel")),
        portions=sections.portions(results),
        split=split.split(results),
        spread=figures.spread(scores, colours),
        heldout=figures.heldout(results, scores, colours),
        data=sections.data(results),
        contamination=split.contamination(results),
        stages=sections.stages(results),
        merge=sections.merge(results, scores),
        updates=merging.updates(results["merge"]["inspection"], scores.of_role("submodel")),
        search=merging.search(results["merge"]["search"], scores.of_role("submodel")),
        attribution=attribution.attribution(results["attribution"]),
        preference=preference.preference(results),
        alpha=ALPHA,
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=style(*STYLES),
    )
    # a lone surrogate from a broken row cannot be written as UTF-8
    return text.encode("utf-8", "replace").decode()


@cache
def template(name: str) -> Template:
    """A template beside this file, everything in it escaped."""
    return environment().get_template(name)
