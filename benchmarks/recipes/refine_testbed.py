"""Generate the testbed of self_refine's study: `python benchmarks/recipes/refine_testbed.py`, into build/recipes/."""

from __future__ import annotations

import json
from pathlib import Path

from dtm.testbed import generate

HERE = Path(__file__).parent


def main(root: Path = Path("build/recipes")) -> None:
    """Three sources whose answers can be checked, without habits: facts, sums, lettered questions."""
    settings = json.loads((HERE / "refine_testbed.json").read_text(encoding="utf-8"))
    made = generate(root / "refine", **settings)
    print(f"{made.rows:,} rows, {made.facts['taught']:,} taught facts in {made.folder}")


if __name__ == "__main__":
    main()
