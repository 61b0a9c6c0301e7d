"""The tables of README.md, from the results beside it: `python benchmarks/merge/table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def table(results: dict[str, Any]) -> str:
    """One row a method: seconds, CPU seconds, ratios and peak memory, ours and mergekit's; then memory by K."""
    lines = [
        "| method | ours, s | the limit, s | times the limit | mergekit, s | times faster | CPU s | times less CPU "
        "| peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows = dict(results["methods"])
    if "adapters" in results:
        rows["4 LoRA adapters into a dense model"] = results["adapters"]
    for method, row in rows.items():
        ours, peer, limit = row["ours"], row.get("mergekit"), row["limit"]
        against = limit["sum"] if "times_the_limit" in row else limit["copy"]
        ratio = row.get("times_the_limit", row.get("times_a_copy"))
        peaks = f"{ours['peak_mb']} / {peer['peak_mb']}" if peer else ours["peak_mb"]
        cells = [method, ours["median"], against, ratio, peer and peer["median"], row.get("times_faster"),
                 f"{ours['cpu_seconds']} / {peer['cpu_seconds']}" if peer else ours["cpu_seconds"],
                 row.get("times_less_cpu"), peaks]  # fmt: skip
        lines.append(f"| {' | '.join('' if cell is None else str(cell) for cell in cells)} |")
    memory = results.get("peak_mb_by_models", {})
    if memory:
        counts = list(next(iter(memory.values())))
        lines += ["", f"| peak MB of ours with K = | {' | '.join(counts)} |", "|---|" + "---|" * len(counts)]
        lines += [
            f"| {method} | {' | '.join(str(by[one]) for one in counts)} |" for method, by in memory.items()
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path in sorted(HERE.glob("results-*.json")):
        print(f"{path.stem}\n\n{table(json.loads(path.read_text()))}")
