"""Loss on rows kept from training, source by source: what tuning gains in the likelihood of such answers.

Which rows those are depends on the seed, and on an arm's own `data`; so the base's loss on the same rows stands beside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dtm.study.items import BASE
from dtm.study.running import Outcome, subject


def heldout(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One row an arm and source, `all` first: means over the seeds that have that source among their held-out rows."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for outcome in outcomes:
        if outcome.results is None:
            continue
        rows = outcome.results["results"].get("heldout") or ()
        losses = {(row["model"], row["source"]): row["loss"] for row in rows}
        own = subject(outcome.results)
        for source in sorted({row["source"] for row in rows}, key=lambda name: (name != "all", name)):
            pair = [losses.get((model, source)) for model in (own, BASE)]
            if None not in pair:
                by_seed = found.setdefault((outcome.trial.arm.name, source), {})
                by_seed[str(outcome.trial.seed)] = pair  # type: ignore[assignment]
    return [
        {"arm": arm, "source": source, "loss": _mean(by_seed, 0), "base": _mean(by_seed, 1),
         "by_seed": {seed: own for seed, (own, _) in by_seed.items()}}
        for (arm, source), by_seed in found.items()
    ]  # fmt: skip


def _mean(by_seed: dict[str, list[float]], place: int) -> float:
    return math.fsum(pair[place] for pair in by_seed.values()) / len(by_seed)
