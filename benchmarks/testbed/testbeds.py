"""Generate the testbeds of this study: `python benchmarks/testbed/testbeds.py`, into build/study/."""

from __future__ import annotations

import json
from pathlib import Path

from dtm.testbed import generate

HERE = Path(__file__).parent


def main(root: Path = Path("build/study")) -> None:
    """One folder a testbed of testbeds.json: they share base, facts and questions, and differ in their habits."""
    settings = json.loads((HERE / "testbeds.json").read_text(encoding="utf-8"))
    shared = settings.pop("shared")
    for name, own in settings.items():
        made = generate(root / name, **{**shared, **own})
        print(f"{made.rows:,} rows, {made.facts['taught']:,} taught facts in {made.folder}")


if __name__ == "__main__":
    main()
