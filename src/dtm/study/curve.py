"""The curve of the tax: score against share of the data, and how training and held-out loss part.

The pilot of Fu et al. (arXiv:2405.13432): scores peak before the data ends, and the drop in training loss over the
drop in validation loss grows with the share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dtm.study.comparing import Group, group_mean
from dtm.study.items import BASE, Cell, Items
from dtm.study.references import points_of
from dtm.study.running import Outcome, dev_scores, subject

WINDOW = 0.1  # of the training, over which its loss is averaged


def curve(outcomes: Sequence[Outcome], items: Items, groups: Sequence[Group]) -> dict[str, Any] | None:
    """Points of every seed's training, the base first; None where no checkpoint was evaluated."""
    runs = [one for one in outcomes if points_of(one)]
    if not runs:
        return None
    return {"arm": runs[0].trial.arm.name, "runs": [_run(one, items, groups) for one in runs]}


def _run(outcome: Outcome, items: Items, groups: Sequence[Group]) -> dict[str, Any]:
    results = outcome.results or {}
    heldout = {
        row["model"]: row["loss"] for row in results["results"].get("heldout") or () if row["source"] == "all"
    }
    dev = dev_scores(results)
    own = subject(results)
    logged: list[dict[str, Any]] = next(
        (one["points"] for one in results["curves"] if one["model"] == own), []
    )
    start = heldout.get(BASE)
    points = [_point(0.0, Cell(BASE), items, groups, dev.get(BASE), start, start, start)]
    for name, cell in points_of(outcome).items():
        share = 1.0 if cell.share is None else cell.share
        loss = training_loss(logged, share)
        points.append(_point(share, cell, items, groups, dev.get(name), loss, heldout.get(name), start))
    return {"seed": outcome.trial.seed, "points": points}


def _point(
    share: float,
    cell: Cell,
    items: Items,
    groups: Sequence[Group],
    dev: float | None,
    training: float | None,
    heldout: float | None,
    start: float | None,
) -> dict[str, Any]:
    scores = {group.name: mean for group in groups if (mean := group_mean(items, group, cell)) is not None}
    return {"share": share, "scores": scores, "dev": dev, "training_loss": training, "heldout_loss": heldout,
            "drop_ratio": drop_ratio(start, training, heldout) if share else None}  # fmt: skip


def training_loss(points: Sequence[Mapping[str, Any]], share: float) -> float | None:
    """Mean logged loss over the last tenth of the training before that share; None where nothing was logged."""
    if not points or share <= 0:
        return None
    last = points[-1]["step"]
    near = [one["loss"] for one in points
            if share - WINDOW < one["step"] / last <= share + 1e-9 and one["loss"] is not None]  # fmt: skip
    return math.fsum(near) / len(near) if near else None


def drop_ratio(start: float | None, training: float | None, heldout: float | None) -> float | None:
    """(start - training loss) / (start - held-out loss); None where the held-out loss has not fallen.

    Both start at the base's loss on held-out rows, which it has seen as little as those that it is trained on.
    """
    if start is None or training is None or heldout is None or start - heldout <= 0:
        return None
    return (start - training) / (start - heldout)
