"""The dispersing step on rows in any number: embedding, portions, card, figures, files; seconds and memory of each.

    python benchmarks/disperse/step.py ROWS.arrow SCRATCH [COUNT]

Writes `step-COUNT.json`. The rows and the embedding are memory-mapped files.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from memory import now, watched
from run import commit

import dtm.disperse
from dtm.disperse.quality import quality
from dtm.foundations.registry import registry
from dtm.foundations.signals import embed
from dtm.foundations.types import Examples

HERE = Path(__file__).parent
K, SEED, THREADS = 8, 0, 2


def main(file: Path, scratch: Path, count: int | None = None) -> dict[str, Any]:
    examples = Examples.open(file)
    examples = Examples(examples.table.slice(0, count or len(examples)))
    embedding = scratch / f"embedding-{len(examples)}.npy"
    phases: dict[str, Any] = {}

    def timed(name: str, work: Any) -> Any:
        cpu, wall, load = time.process_time(), time.perf_counter(), os.getloadavg()[0]
        with watched() as peaks:
            made = work()
        phases[name] = {
            "seconds": round(time.perf_counter() - wall, 1), "cpu_seconds": round(time.process_time() - cpu, 1),
            "peak_mb": round(peaks["VmRSS"] / 1e6), "anonymous_mb": round(peaks["RssAnon"] / 1e6),
            "load": round(load, 1),
        }  # fmt: skip
        print(name, phases[name], flush=True)
        return made

    before = now()
    timed("embedding", lambda: embed(examples, on="both", seed=SEED, threads=THREADS, into=embedding) is None)
    points_ND = np.load(embedding, mmap_mode="r")
    bound = registry("disperse").bind("kmeans", {})
    portions_N = timed(
        "portions", lambda: dtm.disperse.assign(bound, examples, K, SEED, {"embedding": points_ND})
    )
    timed("card", lambda: dtm.disperse.card(examples, portions_N, K, embedding=points_ND, seed=SEED))
    timed("figures", lambda: quality(examples, portions_N, K, embedding=points_ND, seed=SEED))
    timed("files", lambda: _write(examples, portions_N, scratch))
    return {"rows": len(examples), "tokens": int(examples.token_counts()[0].sum()), "k": K, "threads": THREADS,
            "before_mb": round(before["VmRSS"] / 1e6), "phases": phases, "commit": commit()}  # fmt: skip


def _write(examples: Examples, portions_N: np.ndarray, scratch: Path) -> None:
    for portion in range(K):
        file = scratch / f"portion-{portion}.arrow"
        examples.save(file, np.flatnonzero(portions_N == portion))
        file.unlink()


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
    (HERE / f"step-{found['rows']}.json").write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
