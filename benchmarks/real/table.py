"""The tables of README.md, from the results beside it: `python benchmarks/real/table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dtm.study.markdown import differences, losses, scores

HERE = Path(__file__).parent
Results = dict[str, Any]


def done() -> list[str]:
    """The studies whose results are here."""
    return sorted(path.stem for path in (HERE / "results").glob("*.json"))


def read(name: str) -> Results:
    """The kept study.json of that name."""
    return json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))


def tables(results: Results) -> list[str]:
    """Scores, differences from the base and from vanilla, losses on held-out rows."""
    return [
        scores(results),
        differences(results, "base"),
        differences(results, results["against"]),
        losses(results),
    ]


if __name__ == "__main__":
    for study in done():
        print(f"## {study}\n\n" + "\n".join(tables(read(study))))
