"""What all pages share: templates that escape everything, words for numbers, and the style sheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from dtm.report import wording

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
WORDS = ("count", "short", "loss", "probability", "plural", "score", "signed", "listing", "duration")


def environment(*folders: Path) -> Environment:
    """Templates of these folders, and of this package behind them; a name that does not exist is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader([*folders, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["pretty"] = lambda value: json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    made.filters |= {name: getattr(wording, name) for name in WORDS}
    return made


def style(*names: str) -> str:
    """The text of these style sheets or scripts, one behind the other."""
    return "".join((HERE / name).read_text(encoding="utf-8") for name in names)
