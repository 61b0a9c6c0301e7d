"""Gradient: whole sources, parted along the axes on which their gradients disagree most.

Choi and Kim 2026, "Decentralized Instruction Tuning: Conflict-Aware Splitting and Weight Merging" (MERIT),
arXiv:2606.01717: a gradient a source from n = 200 rows, the matrix of their cosines, its r top principal axes, a
split at the token-weighted median of each, K = 2^r portions; merged with weights by tokens (`merge.weights: tokens`).
The paper's code is not released. What its text leaves open is a setting here: whether the matrix is centred, as
principal components are (`centre`), and whether the second axis cuts each half at a median of its own (`halves`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from dtm.disperse.balance import Balance, weights_of
from dtm.disperse.sphere import threads
from dtm.foundations.errors import DataError
from dtm.foundations.registry import registry
from dtm.foundations.signals.grouped import Grouped
from dtm.foundations.types import Examples


@registry("disperse").register(
    "gradient",
    paper="arXiv:2606.01717",
    needs=("source_gradient", "cluster_gradient", "rows", "tokens"),
    uses=lambda settings: (
        "source_gradient" if settings["sources"] == "given" else "cluster_gradient", "rows", "tokens"),
    portions="a power of 2",
)  # fmt: skip
def gradient(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    source_gradient: Grouped | None = None,
    cluster_gradient: Grouped | None = None,
    rows: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    sources: Literal["given", "discovered"] = "given",
    halves: Literal["nested", "crossed"] = "nested",
    centre: bool = True,
    balance: Balance = "tokens",
) -> np.ndarray:
    """Halve the sources along log2(k) axes of their gradients' cosines; a source stays whole.

    `source_gradient`, [N, D] by source, is of the sources that the data names; `discovered` ones are clusters
    of the embedding. Sources weigh their tokens, or rows (`balance`). `nested`: each half is cut again at its own
    weighted median on the next axis, so that all portions weigh about the same. `crossed`: every axis is cut at
    the median over all sources, and a portion is a combination of sides; it may be small, or empty, which is an
    error. Nothing is drawn: `seed` is not read.

    Raises DataError when k is no power of 2 or there are fewer sources than portions.
    """
    given = source_gradient if sources == "given" else cluster_gradient
    assert given is not None  # `uses` asked for it
    axes = k.bit_length() - 1
    if k != 1 << axes:
        raise DataError(f"{k} is no power of 2", where="disperse.k", mend=powers_near(k))
    present, group_N = np.unique(given.groups_N, return_inverse=True)
    check_number(len(present), k, sources)
    weights_S = np.bincount(group_N, weights=weights_of(balance, len(group_N), rows, tokens))
    with threads():
        places_SR = principal_places(given.values_SD[present], axes, centre=centre)
    split = nested if halves == "nested" else crossed
    return split(places_SR, weights_S)[group_N]


def principal_places(gradients_SD: np.ndarray, axes: int, *, centre: bool) -> np.ndarray:
    """Where each source is on the top principal axes of the cosine matrix, float64 [S, R].

    With C the cosines and H the centring matrix these are the eigenvectors of H C H, or of C, by the roots of
    their eigenvalues: the principal components of the gradients scaled to unit norm. The largest is positive.
    """
    wide_SD = np.asarray(gradients_SD, np.float64)
    norms_S1 = np.linalg.norm(wide_SD, axis=1, keepdims=True)
    if not np.isfinite(norms_S1).all():
        raise DataError("the gradient of a source is not finite")
    unit_SD = wide_SD / np.where(norms_S1 == 0, 1, norms_S1)
    if centre:
        unit_SD = unit_SD - unit_SD.mean(axis=0)
    values_S, vectors_SS = np.linalg.eigh(unit_SD @ unit_SD.T)
    values_S, vectors_SS = values_S[::-1], vectors_SS[:, ::-1]
    used = min(axes, len(values_S))
    places_SR = np.zeros((len(unit_SD), axes))
    places_SR[:, :used] = vectors_SS[:, :used] * np.sqrt(values_S[:used].clip(min=0))
    places_SR[np.abs(places_SR) < 1e-9] = 0  # noise of equal sources, whose order is then by name
    largest_R = places_SR[np.abs(places_SR).argmax(axis=0), np.arange(axes)]
    return places_SR * np.where(largest_R < 0, -1, 1)


def nested(places_SR: np.ndarray, weights_S: np.ndarray) -> np.ndarray:
    """The portion of each source, int64 [S]: halves of halves; portions 2i and 2i + 1 part on the last axis."""
    portion_S = np.zeros(len(weights_S), np.int64)

    def part(members: np.ndarray, axis: int, first: int) -> None:
        left = places_SR.shape[1] - axis
        if not left:
            portion_S[members] = first
            return
        half = 1 << (left - 1)  # portions of each side, and so the sources that it must have
        upper_M = above_median(places_SR[members, axis], weights_S[members], least=half)
        part(members[~upper_M], axis + 1, first)
        part(members[upper_M], axis + 1, first + half)

    part(np.arange(len(weights_S)), 0, 0)
    return portion_S


def crossed(places_SR: np.ndarray, weights_S: np.ndarray) -> np.ndarray:
    """The portion of each source, int64 [S]: the side of every axis' median as a binary number."""
    axes = places_SR.shape[1]
    portion_S = np.zeros(len(weights_S), np.int64)
    for axis in range(axes):
        upper_S = above_median(places_SR[:, axis], weights_S, least=1)
        portion_S += upper_S.astype(np.int64) << (axes - 1 - axis)
    if len(empty := np.setdiff1d(np.arange(1 << axes), portion_S)):
        raise DataError(
            f"no source is on that side of all {axes} axes which makes portion {empty[0]}",
            where="disperse.halves",
            mend="Set `halves: nested`, which cuts each half again, or a lower k",
        )
    return portion_S


def above_median(values_M: np.ndarray, weights_M: np.ndarray, *, least: int) -> np.ndarray:
    """Which are above the weighted median, bool [M]: the cut whose two sides are nearest to equal weight.

    Each side has at least `least`; equal values stay in order.
    """
    order_M = np.argsort(values_M, kind="stable")
    reached = np.cumsum(weights_M[order_M])
    below = int(np.abs(reached - reached[-1] / 2).argmin()) + 1
    upper_M = np.zeros(len(order_M), bool)
    upper_M[order_M[np.clip(below, least, len(order_M) - least) :]] = True
    return upper_M


def powers_near(k: int) -> str:
    """What to set k to instead."""
    below = 1 << (max(k, 1).bit_length() - 1)
    return f"Set k to {below} or {2 * below}"


def check_number(count: int, k: int, sources: str) -> None:
    """Raise DataError where there are fewer sources, `given` or `discovered`, than portions."""
    if count >= k:
        return
    what = "sources" if sources == "given" else "clusters"
    mend = "`sources: discovered`" if sources == "given" else "a higher disperse.gradients.clusters"
    raise DataError(
        f"{count} {what} cannot fill {k} portions", where="disperse.k", mend=f"Set k to {count} or less, or use {mend}"
    )  # fmt: skip
