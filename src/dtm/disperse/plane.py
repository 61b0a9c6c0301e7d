"""A map of the data: rows on the two directions in which they differ most, for the eye."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtm.foundations.seeds import derive
from dtm.foundations.signals.text import first_turns
from dtm.foundations.types import Examples

POINTS = 2000  # rows on the map
LETTERS = 90  # of a row's first message
FIT_ROWS = 20_000  # that directions are fitted on
DIGITS = 4  # of a coordinate


def plane(
    examples: Examples, rows: np.ndarray, points: np.ndarray, portions_N: np.ndarray, seed: int
) -> dict[str, Any]:
    """`x`, `y`, `portion`, `source`, `text` of a seeded sample of at most POINTS rows, as lists, in random order;
    and `explained`, the share of the variance that the two directions have.

    `points` [., D] are of the rows `rows`; those that are zero are on no map.
    """
    known = np.flatnonzero(points.any(axis=1))
    order = np.random.default_rng(derive(seed, "map")).permutation(len(known))
    sample = points[np.sort(known[order[:FIT_ROWS]])].astype(np.float64)
    mean_D, directions_D2, explained = _principal(sample)
    shown = known[order[:POINTS]]
    places = (points[shown].astype(np.float64) - mean_D) @ directions_D2
    taken = examples.take(rows[shown])
    return {
        "rows": len(known), "explained": explained,
        "x": [round(value, DIGITS) + 0.0 for value in places[:, 0].tolist()],
        "y": [round(value, DIGITS) + 0.0 for value in places[:, 1].tolist()],
        "portion": portions_N[rows[shown]].tolist(), "source": taken.column("source"),
        "text": [_cut(text) for text in first_turns(taken, "user")],
    }  # fmt: skip


def _principal(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float | None]:
    """The mean [D], the two directions of most variance [D, 2], signs fixed, and their share of it."""
    width = points.shape[1]
    mean_D = points.mean(axis=0) if len(points) else np.zeros(width)
    centred = points - mean_D
    variances, directions = np.linalg.eigh(centred.T @ centred)
    directions_D2 = np.zeros((width, 2))
    directions_D2[:, : min(width, 2)] = directions[:, ::-1][:, :2]
    largest = np.abs(directions_D2).argmax(axis=0)
    directions_D2 *= np.where(directions_D2[largest, [0, 1]] < 0, -1, 1)
    whole = float(variances.clip(0).sum())
    return mean_D, directions_D2, float(variances[::-1][:2].clip(0).sum() / whole) if whole > 0 else None


def _cut(text: str) -> str:
    text = " ".join(text[: 4 * LETTERS].split())
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
