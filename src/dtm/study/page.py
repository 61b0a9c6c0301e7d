"""`report.html` of a study: one page with everything in it, that opens offline and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.foundations.files import write_text
from dtm.report import wording
from dtm.report.html import environment, style
from dtm.study import figures
from dtm.study.comparing import ALPHA
from dtm.study.items import BASE
from dtm.study.markdown import tables
from dtm.study.pareto import pareto
from dtm.study.schema import validated
from dtm.study.splits import matrix
from dtm.study.statement import summary

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent


def render(results: Mapping[str, Any], folder: Path) -> Path:
    """Write `report.html` and `tables.md` for the content of a study.json into `folder`; returns the page's path.

    Raises DataError where `results` are no study's. All texts are escaped, and the page's
    Content-Security-Policy lets nothing load and no script run.
    """
    results, path = validated(results), Path(folder) / "report.html"
    write_text(path, _page(results))
    write_text(path.with_name("tables.md"), tables(results))
    return path


def page(results: Mapping[str, Any]) -> str:
    """The page as HTML; the same results give the same bytes."""
    return _page(validated(results))


def _page(results: Mapping[str, Any]) -> str:
    groups = [row["group"] for row in results["benchmarks"]]
    text = _template().render(
        study=results,
        headline=results["statement"][0] if results["statement"] else "",
        statement=results["statement"][1:],
        facts=_facts(results),
        table=table(results),
        curve=figures.tax_curve(results),
        losses=figures.losses(results),
        kept=figures.kept_rows(results),
        forests=[found for group in (None, *groups) if (found := figures.forest(results, group)) is not None],
        pareto=pareto(results),
        arms=figures.arms(results),
        taxes=_taxes(results),
        flips=_flips(results),
        splits=matrix(results),
        alpha=ALPHA,
        style=style("page.css", "merging.css", "tax_curve.css")
        + (HERE / "study.css").read_text(encoding="utf-8"),
    )
    return text.encode("utf-8", "replace").decode()


def table(results: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of the base, the arms and the best points of the curve: the whole, its differences, means, benchmarks."""
    whole = summary(results)
    groups = [row["group"] for row in results["benchmarks"]]
    means = [row["group"] for row in results["base"]["scores"] if row["group"] not in (*groups, whole)]
    shown = list(dict.fromkeys(row["against"] for row in results["comparisons"] if not row["oracle"]))
    verdicts = {(row["arm"], row["group"]): row["verdict"] for row in results["comparisons"]
                if row["against"] == results["against"]}  # fmt: skip

    def row_of(known: dict[str, Any], scored: Mapping[str, Any]) -> dict[str, Any]:
        """The verdict of a cell is that against the chosen arm."""
        cells = [figures.cell(figures.score_of(scored["scores"], group))
                 | {"verdict": verdicts.get((known["name"], group), ""), "mean": group in means}
                 for group in means + (groups if groups != [whole] else [])]  # fmt: skip
        single = figures.cell(figures.score_of(scored["scores"], whole))
        empty: dict[str, Any] = {"arm": None, "differences": [], "shares": None, "oracle": False}
        return {**empty, **known, "whole": single, "cells": cells}

    rows = [row_of({"name": BASE, "number": "", "colour": "var(--base)", "role": BASE}, results["base"])]
    for known, arm in zip(figures.arms(results), results["arms"], strict=True):
        compared = {row["against"]: row for row in results["comparisons"]
                    if row["arm"] == arm["name"] and row["group"] == whole}  # fmt: skip
        differences = [figures.difference(compared.get(name)) for name in shown]
        rows.append(row_of(known, arm) | {"arm": arm, "differences": differences})
    for one in results["references"]:
        known = {"name": one["name"], "number": "", "colour": "var(--baseline)", "role": "point"}
        rows.append(row_of(known, one) | {"shares": one["shares"], "oracle": one["oracle"]})
    return {"rows": rows, "groups": groups if groups != [whole] else [], "means": means, "whole": whole,
            "references": [figures.called(name, results) for name in shown]}  # fmt: skip


def _taxes(results: Mapping[str, Any]) -> dict[str, Any]:
    """A row an arm, a column a reference."""
    found = {(row["arm"], row["against"]): row for row in results["tax"]}
    references = list(dict.fromkeys(row["against"] for row in results["tax"]))
    rows = []
    for name in dict.fromkeys(row["arm"] for row in results["tax"]):
        cells = [found.get((name, reference)) for reference in references]
        rows.append({"arm": name, "cells": [cell and cell | {"bounds": _bounds(cell)} for cell in cells]})
    return {"rows": rows, "references": [figures.called(name, results) for name in references],
            "group": results["tax"][0]["group"] if results["tax"] else ""}  # fmt: skip


def _bounds(row: Mapping[str, Any]) -> str:
    return wording.interval(row["low"], row["high"], True, sign=True)


def _facts(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What was run at a glance: (label, value, further words)."""
    runs = sum(len(arm["seeds"]) for arm in results["arms"])
    grids = [arm["grid"] for arm in results["arms"] if arm["grid"] and arm["grid"]["tuned_as"] == arm["name"]]
    tuning = sum(len(point["by_seed"]) for grid in grids for point in grid["points"])
    claiming = sum(arm["claim"] for arm in results["arms"])
    seconds = sum(results["timing"]["seconds"].values())
    lines = [
        ("arms", f"{len(results['arms'])}", f"{claiming} with a claim"),
        ("seeds", f"{len(results['seeds'])}", ""),
        ("runs", f"{runs}", f"and {tuning} to tune" if tuning else ""),
        (
            "benchmarks",
            f"{len(results['benchmarks'])}",
            f"{sum(row['items'] for row in results['benchmarks']):,} items",
        ),
        ("time of their steps", wording.duration(seconds), ""),
        (
            "commit",
            (results["commit"] or "")[:10],
            "with changes" if (results["commit"] or "").endswith("+") else "",
        ),
    ]
    return [(name, value, more) for name, value, more in lines if value]


def _flips(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Arms with their benchmarks, each with bars of what was lost and won as shares of the items."""
    found = []
    for known in figures.arms(results):
        rows = [row | {"lost_width": round(100 * row["lost"] / row["items"], 2),
                       "won_width": round(100 * row["won"] / row["items"], 2)}
                for row in results["flips"] if row["arm"] == known["name"]]  # fmt: skip
        if rows:
            found.append(known | {"rows": rows})
    return found


@cache
def _template() -> Template:
    return environment(HERE).get_template("study.html.jinja")
