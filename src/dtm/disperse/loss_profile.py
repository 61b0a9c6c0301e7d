"""Loss profile: rows on which the base fails alike - everywhere, at the start, at the end - go into one portion.

Clustering rows by how a model's loss on them runs: Yang et al. 2024, "SmallToLarge (S2L)", arXiv:2403.07384, along
the training of a small model. Along the response, at the base, is ours: no training comes first.
"""

from __future__ import annotations

import numpy as np

from dtm.disperse.balance import Balance
from dtm.disperse.kmeans import kmeans
from dtm.foundations.registry import registry
from dtm.foundations.settings import Count
from dtm.foundations.types import Examples


@registry("disperse").register("loss_profile", needs=("loss_profile", "rows", "tokens"))
def loss_profile(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    loss_profile: np.ndarray,
    rows: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    balanced: bool = True,
    balance: Balance = "rows",
    restarts: Count = 4,
    max_iterations: Count = 300,
) -> np.ndarray:
    """Spherical k-means of the losses along the response, each part's by its deviation from the mean row's.

    `loss_profile` float [N, B]: the base's mean loss in each of B parts of a response. Each part is scaled
    to mean 0 and deviation 1 over the rows, then each row to unit norm: what counts is in which parts a row is
    harder or easier than others, not by how much. Settings as of `kmeans`.

    Raises DataError on a loss that is not finite.
    """
    return kmeans(
        examples_N, k, seed, embedding=standardised(loss_profile), rows=rows, tokens=tokens, balanced=balanced,
        balance=balance, restarts=restarts, max_iterations=max_iterations,
    )  # fmt: skip


def standardised(values_NB: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1, float32 [N, B]; a constant column is zero."""
    wide_NB = np.asarray(values_NB, np.float64)
    apart_NB = wide_NB - wide_NB.mean(axis=0)
    deviation_B = np.sqrt((apart_NB**2).mean(axis=0))
    flat_B = deviation_B <= 1e-12 * np.abs(wide_NB).max(axis=0, initial=0)
    return np.where(flat_B, 0, apart_NB / np.where(flat_B, 1, deviation_B)).astype(np.float32)
