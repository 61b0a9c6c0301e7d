"""A whole study in one command: `python benchmarks/real/run.py {gemma,smollm2,small} [-s key=value ...]`.

Lays out the data, runs `dtm study`, which goes on where it was stopped, and keeps study.json and every answer in
results/.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from prepare import main as prepare

from dtm.foundations.errors import DtmError
from dtm.study import read

HERE = Path(__file__).parent
NAMES = ("gemma", "smollm2", "small")


def main(name: str, settings: list[str], dry_run: bool = False) -> int:
    """Returns the exit code of `dtm study`; what failed, or was changed by a setting, is no result to keep."""
    prepare(gemma=name == "gemma")
    file = HERE / f"{name}.yaml"
    more = [part for one in settings for part in ("-s", one)] + ["--dry-run"] * dry_run
    child = subprocess.Popen([sys.executable, "-m", "dtm.cli", "study", str(file), *more])
    while child.returncode is None:
        with suppress(KeyboardInterrupt):  # Ctrl-C reaches the child as well, which says how to go on
            child.wait()
    if dry_run or child.returncode:
        return child.returncode
    folder = read(file, settings).output_dir
    if not settings:
        (HERE / "results").mkdir(exist_ok=True)
        shutil.copy(folder / "study.json", HERE / "results" / f"{name}.json")
        shutil.copy(folder / "items.parquet", HERE / "results" / f"{name}-items.parquet")
    print((folder / "tables.md").read_text(encoding="utf-8"))
    return 0


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
