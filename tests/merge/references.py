"""Every method once more: in fp64, from its paper, one whole tensor at a time, with sorts and loops.

Each takes base [...], models [K, ...], weights [K] and its settings, and gives the merged tensor. Random methods
get `uniform` [K, ...], which `splitmix` makes with Python's integers.
"""

from __future__ import annotations

import hashlib
import json
from itertools import combinations

import numpy as np

MASK = (1 << 64) - 1


def identity(tensors: dict[str, np.ndarray], dtypes: dict[str, str]) -> str:
    """What a dense model is called in keys: a hash of every tensor's name, dtype, shape and four pieces of 64 bytes."""
    told = hashlib.sha256()
    for name in sorted(tensors):
        told.update(
            json.dumps([name, dtypes[name], list(tensors[name].shape), None], separators=(",", ":")).encode()
        )
        raw = tensors[name].tobytes()
        last = max(len(raw) - 64, 0)
        for start in sorted({0, last // 3, last * 2 // 3, last}):
            told.update(raw[start : start + 64])
    return told.hexdigest()[:24] + ".0"


def splitmix(seed: int, model: str, tensor: str, count: int) -> np.ndarray:
    """The documented generator, number by number: Steele, Lea and Flood's splitmix64 at key + index."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/merge/{model}/{tensor}".encode()).digest()[:8], "big")
    found = []
    for index in range(1, count + 1):
        z = (key + index * 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        found.append(((z ^ (z >> 31)) >> 40) / 2**24)
    return np.array(found)


def share(weights, normalize=True):
    return weights / weights.sum() if normalize else weights


def weighted(rows, weights):
    return np.tensordot(weights, rows, 1)


def linear(base, models, w, normalize=True):
    return weighted(models, share(w, normalize))


def wise_ft(base, models, w, alpha=0.5):
    return (1 - alpha) * base + alpha * weighted(models, share(w))


def task_arithmetic(base, models, w, scale=1.0, normalize=False):
    return base + scale * weighted(models - base, share(w, normalize))


def largest(tau, count):
    """The mask of the `count` largest magnitudes, equals by lower index."""
    order = np.argsort(-np.abs(tau.reshape(-1)), kind="stable")
    mask = np.zeros(tau.size, bool)
    mask[order[:count]] = True
    return mask.reshape(tau.shape)


def elected(taus, w, normalize):
    parts = w.reshape(-1, *[1] * (taus.ndim - 1)) * taus
    sign = np.where(parts.sum(0) >= 0, 1, -1)
    agree = (np.sign(parts) == sign) & (parts != 0)
    total = np.where(agree, parts, 0).sum(0)
    below = np.where(agree, w.reshape(-1, *[1] * (taus.ndim - 1)), 0).sum(0)
    return total / np.where(below == 0, 1, below) if normalize else total


def ties(base, models, w, density=0.2, scale=1.0, normalize=True):
    taus = models - base
    kept = np.stack([np.where(largest(tau, int(tau.size * density)), tau, 0) for tau in taus])
    return base + scale * elected(kept, w, normalize)


def dropped(base, models, uniform, density, rescale):
    taus = models - base
    return np.where(uniform < density, taus / density if rescale else taus, 0)


def dare_linear(base, models, w, uniform, density=0.1, scale=1.0, rescale=True, normalize=False):
    return base + scale * weighted(dropped(base, models, uniform, density, rescale), share(w, normalize))


def dare_ties(base, models, w, uniform, density=0.1, scale=1.0, rescale=True, normalize=True):
    return base + scale * elected(dropped(base, models, uniform, density, rescale), w, normalize)


def sampled(base, models, uniform, density, epsilon):
    taus = models - base
    rows, chances = taus.reshape(len(taus), -1, taus.shape[-1] if taus.ndim > 2 else taus[0].size), []
    for row in rows.reshape(-1, rows.shape[-1]):
        rank = np.argsort(np.argsort(np.abs(row), kind="stable"))
        chances.append(density - epsilon + 2 * epsilon * (rank / (row.size - 1) if row.size > 1 else 0.5))
    chance = np.stack(chances).reshape(taus.shape)
    return np.where(uniform < chance, taus / chance, 0)


def della(base, models, w, uniform, density=0.3, epsilon=0.1, scale=1.0):
    return base + scale * elected(sampled(base, models, uniform, density, epsilon), w, True)


def della_linear(base, models, w, uniform, density=0.3, epsilon=0.1, scale=1.0):
    return base + scale * weighted(sampled(base, models, uniform, density, epsilon), w)


def crumbs(base, models, density, gamma):
    taus = models - base
    top, kept = int(taus[0].size * gamma), int(taus[0].size * density)
    return np.stack([np.where(largest(tau, top + kept) & ~largest(tau, top), tau, 0) for tau in taus])


def breadcrumbs(base, models, w, density=0.14, gamma=0.01, scale=1.0):
    return base + scale * weighted(crumbs(base, models, density, gamma), w)


def breadcrumbs_ties(base, models, w, density=0.14, gamma=0.01, scale=1.0):
    return base + scale * elected(crumbs(base, models, density, gamma), w, True)


def sce(base, models, w, density=1.0, scale=1.0):
    taus = models - base
    if density < 1:
        variance = taus.var(axis=0, ddof=1)
        taus = np.where(largest(variance, int(variance.size * density)) & (variance > 0), taus, 0)
    energy = (taus**2).reshape(len(taus), -1).mean(1)
    weights = w * energy / energy.sum() if energy.sum() else w / len(w)
    agree = taus * taus.sum(0) > 0
    spread = weights.reshape(-1, *[1] * (taus.ndim - 1))
    below = np.where(agree, spread, 0).sum(0)
    return base + scale * np.where(agree, spread * taus, 0).sum(0) / np.where(below == 0, 1, below)


def model_stock(base, models, w):
    taus = (models - base).reshape(len(models), -1)
    pairs = list(combinations(taus, 2))
    norms = [np.linalg.norm(a) * np.linalg.norm(b) for a, b in pairs]
    cosine = np.mean([a @ b / n if n else 0.0 for (a, b), n in zip(pairs, norms, strict=True)])
    t = len(models) * cosine / (1 + (len(models) - 1) * cosine)
    return base + t * weighted(models - base, share(w))


def on_arc(a, b, t):
    u, v = a / np.linalg.norm(a), b / np.linalg.norm(b)
    angle = np.arccos(np.clip((u * v).sum(), -1, 1))
    if np.sin(angle) < 1e-6:
        return (1 - t) * a + t * b
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def slerp(base, models, w, t=0.5):
    return on_arc(models[0], models[1], t)


def nuslerp(base, models, w, from_base=False):
    t = w[1] / w.sum()
    return base + on_arc(*(models - base), t) if from_base else on_arc(*models, t)


def log_map(at, to):
    angle = np.arccos(np.clip((at * to).sum(), -1, 1))
    away = to - np.cos(angle) * at
    return away * (angle / np.sin(angle)) if angle > 1e-9 else away


def exp_map(at, step):
    length = np.linalg.norm(step)
    return np.cos(length) * at + (np.sin(length) * step / length if length > 0 else 0)


def barycentre(points, w, steps):
    norms = np.array([np.linalg.norm(point) for point in points])
    units = np.stack([point / norm for point, norm in zip(points, norms, strict=True)])
    mean = weighted(units, share(w))
    mean = mean / np.linalg.norm(mean)
    for _ in range(steps):
        mean = exp_map(mean, sum(s * log_map(mean, unit) for s, unit in zip(share(w), units, strict=True)))
    return mean * (share(w) @ norms)


def multislerp(base, models, w, from_base=False):
    return base + barycentre(models - base, w, 1) if from_base else barycentre(models, w, 1)


def karcher(base, models, w, steps=100):
    return barycentre(models, w, steps)


def fisher(base, models, w, statistics, floor=1e-10):
    importance = w.reshape(-1, *[1] * base.ndim) * np.maximum(statistics, floor)
    return (importance * models).sum(0) / importance.sum(0)


def regmean(base, models, w, statistics, damping=0.9, ridge=1e-6):
    """By stacked least squares: each model's outputs on inputs whose Gram matrix is the damped one."""
    inputs, outputs = [], []
    for model, weight, products in zip(models, w, statistics, strict=True):
        damped = damping * products + (1 - damping) * np.diag(np.diag(products))
        damped = damped + ridge * np.diag(products).mean() * np.eye(len(damped))
        X = np.linalg.cholesky(weight * damped).T
        inputs.append(X)
        outputs.append(X @ model.T)
    return np.linalg.lstsq(np.concatenate(inputs), np.concatenate(outputs), rcond=None)[0].T


def pcb(base, models, w, density=0.1, scale=1.0):
    taus = models - base
    beta = []
    for tau in taus:
        within = np.exp(len(taus) * tau**2 / (tau**2).max())
        between = sum(np.exp(tau * other / (np.abs(tau * other).max() or 1)) for other in taus)
        score = (within * between).astype(np.float32)  # equals are equal at the precision of the engine
        beta.append(np.where(largest(score, int(score.size * density)), score, 0).astype(float))
    beta = np.stack(beta)
    below = beta.sum(0)
    parts = beta * w.reshape(-1, *[1] * base.ndim) * taus
    return base + scale * parts.sum(0) / np.where(below > 0, below, 1)


def consensus_ta(base, models, w, strictness=0.4, agreeing=2, scale=1.0):
    taus = models - base
    total = weighted(taus, w)
    used = sum((np.abs(tau) >= strictness * np.abs(total - tau)).astype(int) for tau in taus)
    return base + scale * np.where(used >= agreeing, total, 0)


def polar(matrix):
    """The orthogonal polar factor by its definition, X (X'X)^-1/2."""
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    return matrix @ (vectors / np.sqrt(values)) @ vectors.T


def tsv(base, models, w, scale=1.0):
    rank = max(1, min(base.shape) // len(models))
    U, S, V = zip(*(np.linalg.svd(tau, full_matrices=False) for tau in models - base), strict=True)
    left = polar(np.concatenate([u[:, :rank] for u in U], 1))
    right = polar(np.concatenate([v[:rank].T for v in V], 1))
    return (
        base
        + scale * left @ np.diag(np.concatenate([x * s[:rank] for x, s in zip(w, S, strict=True)])) @ right.T
    )


def iso_c(base, models, w, scale=1.0):
    total = weighted(models - base, w)
    level = np.linalg.norm(total, "nuc") / min(total.shape)
    return base + scale * level * (polar(total) if total.shape[0] >= total.shape[1] else polar(total.T).T)


def iso_cts(base, models, w, common=0.8, scale=1.0):
    """By projectors and eigenvectors: the common subspace, each update's own beside it, all levels their mean."""
    taus, n = [weight * tau for weight, tau in zip(w, models - base, strict=True)], min(base.shape)
    own = round((n - int(n * common)) / len(taus))
    U, S, V = np.linalg.svd(sum(taus), full_matrices=False)
    shared = n - len(taus) * own
    projector = np.eye(len(U)) - U[:, :shared] @ U[:, :shared].T
    parts = [np.linalg.svd(projector @ tau, full_matrices=False) for tau in taus]
    left = np.concatenate([U[:, :shared], *(P[:, :own] for P, _, _ in parts)], 1)
    right = np.concatenate([V[:shared].T, *(Q[:own].T for _, _, Q in parts)], 1)
    level = np.mean([*S[:shared], *(value for _, T, _ in parts for value in T[:own])])
    return base + scale * level * polar(left) @ polar(right).T


def knots(base, models, w, of=None):
    """With a linear method inside, the common basis cancels: the plain weighted sum."""
    return base + weighted(models - base, w)


def lines(base, models, w, depth=0.0, alpha=0.2, beta=0.8, of=None):
    return base + (alpha + beta * depth) * weighted(models - base, w)
