"""`inspection.html`: what `dtm merge --inspect` measured, as one page that loads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dtm.foundations.files import write_text
from dtm.report import merging
from dtm.report.page import HERE, STYLES, template
from dtm.report.wording import count, plural


def render_inspection(facts: dict[str, Any], folder: Path) -> Path:
    """Write `inspection.html` for the facts of a merge (with `inspection` in them) into `folder`."""
    path = Path(folder) / "inspection.html"
    write_text(path, inspection_page(facts, Path(folder).name))
    return path


def inspection_page(facts: dict[str, Any], name: str) -> str:
    """The page as HTML; names in it may be hostile, and are escaped."""
    found = facts["inspection"]
    rows = merging.tensors(found)
    shown = [
        ("method", facts["method"]), ("models", plural(len(facts["models"]), "model")),
        ("base", facts["base"]), ("parameters", count(facts["parameters"])),
        ("tensors", f"{count(facts['tensors'])}, {count(facts['unchanged'])} of them unchanged"),
    ]  # fmt: skip
    text = template("inspection.html.jinja").render(
        name=name,
        facts=[(label, value) for label, value in shown if value],
        updates=merging.updates(found, found["models"]),
        tensors=rows,
        all=len(found["tensors"]),
        style="".join((HERE / name).read_text(encoding="utf-8") for name in STYLES),
    )
    return text.encode("utf-8", "replace").decode()
