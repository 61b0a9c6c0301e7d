"""Means on the sphere, from inner products alone.

Every such mean lies in the span of its inputs, so its coefficients follow from their Gram matrix [K, K]: one pass
over the tensors gives that, and the mean itself is a weighted sum. All functions here take and return fp64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtm.merge.arithmetic import Block, Weights, gram

NEARLY = 1e-12  # sines and lengths below it are 0: there the arc is its chord


def products(models_K: Block) -> dict[str, Any]:
    return {"gram": gram(models_K)}


def products_about_base(models_K: Block, base: Block | None, *, from_base: bool) -> dict[str, Any]:
    """The Gram matrix of the models, or of their updates."""
    return {"gram": gram(models_K - base if from_base and base is not None else models_K)}


def lengths(gram_KK: Weights) -> Weights:
    return np.sqrt(np.maximum(np.diag(gram_KK), 0))


def cosines(gram_KK: Weights) -> Weights:
    """Between the unit vectors; 0 with a vector of length 0."""
    norms = lengths(gram_KK)
    both = np.outer(norms, norms)
    found = np.divide(gram_KK, both, out=np.zeros_like(both), where=both > 0)
    np.fill_diagonal(found, np.where(norms > 0, 1.0, 0.0))
    return np.clip(found, -1.0, 1.0)


def arc(cosine: float, t: float) -> tuple[float, float]:
    """Coefficients of two unit vectors for the point at t on their arc; on their chord if they are parallel."""
    angle = float(np.arccos(cosine))
    sine = float(np.sin(angle))
    if sine < 1e-6:
        return 1.0 - t, t
    return float(np.sin((1 - t) * angle) / sine), float(np.sin(t * angle) / sine)


def tangent_step(cosines_KK: Weights, share_K: Weights, at_K: Weights) -> tuple[Weights, float]:
    """From the unit vector with coefficients `at_K`, along the weighted mean of the logarithms of all unit vectors.

    Returns the new unit vector's coefficients, and how far it moved (radians). Coefficients are of unit vectors.
    """
    toward = cosines_KK @ at_K  # cosine between each input and the point
    angles = np.arccos(np.clip(toward, -1.0, 1.0))
    sines = np.sin(angles)
    stretch = np.where(sines > NEARLY, angles / np.where(sines > NEARLY, sines, 1), 1.0)
    step = share_K * stretch - (share_K * stretch * toward).sum() * at_K  # mean of log maps, in coefficients
    length = float(np.sqrt(max(step @ cosines_KK @ step, 0.0)))
    if length < NEARLY:
        return at_K, 0.0
    moved = np.cos(length) * at_K + np.sin(length) * step / length
    return moved / np.sqrt(max(moved @ cosines_KK @ moved, NEARLY)), length


def mean_direction(cosines_KK: Weights, share_K: Weights) -> Weights | None:
    """Coefficients of the unit vector along the weighted sum of the unit vectors; None where that is 0."""
    length = float(np.sqrt(max(float(share_K @ cosines_KK @ share_K), 0.0)))
    return share_K / length if length > NEARLY else None


def of_inputs(unit_K: Weights, gram_KK: Weights, length: float) -> Weights:
    """Coefficients of unit vectors turned into those of the inputs, for a result of that length."""
    norms = lengths(gram_KK)
    return np.divide(unit_K * length, norms, out=np.zeros_like(unit_K), where=norms > 0)
