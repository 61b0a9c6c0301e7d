"""The tables of README.md, from the results beside it: `python benchmarks/recipes/table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dtm.study.markdown import differences, grids, scores, table, tuned

HERE = Path(__file__).parent
STUDIES = ("phased", "dual", "self_refine", "demorecon")
AGAIN = {
    "phased_321": "phased"
}  # `dtm study phased.yaml -s against=phased-3-2-1`: the same runs, compared with another arm

Results = dict[str, Any]


def read(name: str) -> Results:
    """The kept study.json of that name."""
    return json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))


def done() -> list[str]:
    """The studies whose results are here."""
    return [name for name in STUDIES if (HERE / "results" / f"{name}.json").exists()]


def tables(results: Results) -> list[str]:
    """All tables of a study: scores, differences, and the dev scores of rates if one was chosen."""
    minus = differences(results, results["against"])
    return [scores(results), minus, *([grids(results)] if tuned(results) else [])]


def real(name: str) -> str:
    """One row a model of a run on real rows: what it took, and its scores in percent with 95 % intervals."""
    results = json.loads((HERE / "real" / "results" / f"{name}.json").read_text(encoding="utf-8"))["results"]
    columns: dict[tuple[str, str], None] = {}
    cells: dict[tuple[str, str, str], str] = {}
    for row in results["scores"]:
        if row["metric"] != "acc_norm":
            columns[row["task"], row["metric"]] = None
            low, high = 100 * row["low"], 100 * row["high"]
            cells[row["model"], row["task"], row["metric"]] = (
                f"{100 * row['value']:.1f} [{low:.1f}, {high:.1f}]"
            )
    rows = [
        [
            one["name"],
            str(one["steps"]),
            f"{one['tokens']:,}",
            *(cells.get((one["name"], *key), "") for key in columns),
        ]
        for one in results["models"]
    ]
    return table(["model", "steps", "tokens", *(f"{task} ({metric})" for task, metric in columns)], rows)


def real_done() -> list[str]:
    """The runs on real rows whose results are here."""
    return sorted(path.stem for path in (HERE / "real" / "results").glob("*.json"))


if __name__ == "__main__":
    for study in done():
        print(f"## {study}\n\n" + "\n".join(tables(read(study))))
    for name in AGAIN:
        print(f"## {name}\n\n{differences(read(name), read(name)['against'])}")
    for name in real_done():
        print(f"## real {name}\n\n{real(name)}")
