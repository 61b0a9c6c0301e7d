"""A whole study in one command: `python benchmarks/real/run.py {gemma,smollm2,small} [-s key=value ...]`.

Lays out the data, runs the study (going on where it was stopped), and keeps study.json and every answer in results/.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from prepare import main as prepare

from dtm.foundations.errors import DtmError
from dtm.study import read, study

HERE = Path(__file__).parent
NAMES = ("gemma", "smollm2", "small")


def main(name: str, settings: list[str], dry_run: bool = False) -> int:
    """Returns the exit code: 1 where a run failed, of which nothing is kept."""
    prepare(gemma=name == "gemma")
    file = read(HERE / f"{name}.yaml", settings)
    done = study(file, dry_run=dry_run, command=f"python benchmarks/real/run.py {name}")
    if dry_run:
        from dtm.study.terminal import show

        show(done, file.output_dir)
        return 0
    failed = any(arm["failures"] for arm in done["arms"])
    if not settings and not failed:  # what was changed is no result of ours
        (HERE / "results").mkdir(exist_ok=True)
        shutil.copy(file.output_dir / "study.json", HERE / "results" / f"{name}.json")
        shutil.copy(file.output_dir / "items.parquet", HERE / "results" / f"{name}-items.parquet")
    print((file.output_dir / "tables.md").read_text(encoding="utf-8"))
    return int(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES, help="which study: gemma and smollm2 are for a GPU")
    parser.add_argument(
        "-s", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="as in dtm study"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what it would do")
    given = parser.parse_args()
    try:
        sys.exit(main(given.name, given.settings, given.dry_run))
    except DtmError as error:
        print(f"dtm: {error}", file=sys.stderr)
        sys.exit(2)
