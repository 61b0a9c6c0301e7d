"""What each way to split gave the merge, out of the runs of a study: `python benchmarks/testbed/splits.py splits-hot`.

Writes results/NAME-splits.json: means over an arm's seeds of the largest portion's tokens over the mean one's, of the
agreement with the sources (adjusted Rand index), of the cosine between two sub-models' updates, of the merged update's
norm over theirs, and of that norm.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

HERE = Path(__file__).parent


def main(name: str, studies: Path = Path("studies")) -> None:
    arms = {}
    for folder in sorted((studies / name / "runs").iterdir()):
        runs = [
            json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(folder.glob("seed-*/results.json"))
        ]
        found = [facts(run) for run in runs if run.get("split")]
        if found:
            arms[folder.name] = {
                "seeds": len(found),
                **{key: fmean(one[key] for one in found) for key in found[0]},
            }
    target = HERE / "results" / f"{name}-splits.json"
    target.write_text(json.dumps(arms, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def facts(run: dict[str, Any]) -> dict[str, float]:
    """The four figures of one run's results.json."""
    overall = run["merge"]["inspection"]["overall"]
    cosines, norms = overall["cosines"], overall["norms"]
    pairs = [cosines[i][j] for i in range(len(norms)) for j in range(i)]
    return {
        "tokens": run["split"]["balance"]["trained_tokens"],
        "sources": run["split"]["agreement"]["adjusted_rand"],
        "cosine": fmean(pairs),
        "norm": overall["merged_norm"] / fmean(norms),
        "distance": overall["merged_norm"],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
