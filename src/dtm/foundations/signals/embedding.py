"""One unit vector a row: the words of its instruction or response, embedded and reduced.

An embedder is a function `f(texts_N, threads, progress, *, settings) -> features [N, F]`, dense or scipy
sparse, registered in `registry("embedder")`; what it needs a model of the run for comes to it as an array. One with
a model of its own has the properties `find`, which tells its folder before any work, and `files`, which it is made of;
and if a worker shall run it `job`, a worker's function that writes `features.npy`.
`embed` reduces its features to their best-fitting subspace, in which inner products change least (Eckart and
Young 1936), and scales rows to unit norm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dtm.foundations.errors import ConfigError, DataError, MethodError, MissingInput
from dtm.foundations.registry import Bound, registry
from dtm.foundations.seeds import derive32
from dtm.foundations.signals import hidden, sentences, static, tfidf  # noqa: F401 - registers the embedders
from dtm.foundations.signals.text import Side, texts
from dtm.foundations.types import Examples

Progress = Callable[[int, int], None]  # rows done, rows in all
FIT_ROWS = 50_000  # the subspace is fitted on so many rows at most, evenly spread over a seeded shuffle
POWER_ITERATIONS = 5
NOTHING = 1e-6  # rows of unit norm whose projection is shorter hold no word that the subspace knows


def check_embedder(embedder: str | Mapping[str, Any], *, where: object = "disperse.embedder") -> Bound:
    """An embedder by name, or by a mapping of `name` and its settings, before any work.

    Raises ConfigError or MethodError on every mistake at once, MissingInput when its package is not there.
    """
    settings = {"name": embedder} if isinstance(embedder, str) else dict(embedder)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(
            f"{embedder!r} names no embedder", where=where, mend="Write {name: tfidf} or just tfidf"
        )
    bound = registry("embedder").bind(name, settings, where=where)
    package = bound.method.properties.get("package")
    if package and find_spec(package) is None:
        raise MissingInput(
            f"the embedder {name!r} needs the package {package}",
            where=where,
            mend="Run `pip install 'disperse-then-merge[embed]'`, or use `embedder: tfidf`",
        )
    return bound


def with_model(bound: Bound, root: Path, *, where: object = "disperse.embedder.model") -> Bound:
    """The embedder with the folder that its model lies in, itself where it has none; relative paths are of `root`.

    Raises MissingInput or ModelError where there is no such model.
    """
    find = bound.method.properties.get("find")
    if find is None:
        return bound
    return Bound(bound.method, {**bound.settings, "model": str(find(bound.settings["model"], root, where))})


def embed(
    examples_N: Examples,
    *,
    embedder: str | Mapping[str, Any] | Bound = "tfidf",
    on: Side = "instruction",
    dimensions: int = 256,
    seed: int,
    threads: int = 1,
    progress: Progress | None = None,
    signals: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Unit-norm rows float32 [N, D], D <= `dimensions`; a row with nothing to embed is zero.

    `on` takes all user turns, all assistant turns or both. Features of no more than `dimensions` columns
    are kept as they are; wider ones are projected on their top right singular vectors, signs fixed so that
    the largest component is positive. The result depends on `seed`, not on the number of BLAS threads.
    `signals` [N, ...] are what the embedder declared to need, by name.

    Raises MethodError or ConfigError on an unknown embedder or setting or a missing signal, DataError on
    features that are not finite.
    """
    from threadpoolctl import threadpool_limits

    bound = embedder if isinstance(embedder, Bound) else check_embedder(embedder)
    if dimensions < 1:
        raise ConfigError(f"{dimensions} dimensions hold nothing", where="disperse.dimensions")
    words_N = texts(examples_N, on)
    features_NF = bound(words_N, threads, progress, **_needs(bound, signals or {}))
    with threadpool_limits(1, user_api="blas"):
        reduced_ND = _reduce(features_NF, dimensions, seed)
    blank_N = np.array([not text.strip() for text in words_N], bool)
    return _unit(reduced_ND, blank_N)


def _needs(bound: Bound, signals: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if missing := [name for name in bound.method.needs if name not in signals]:
        raise MethodError(
            f"the embedder {bound.method.name!r} needs the signal {missing[0]!r}",
            where="disperse.embedder",
            mend="A run computes it; in Python hand it to `embed` as `signals`",
        )
    return {name: signals[name] for name in bound.method.needs}


def zero_rows(embedding_ND: np.ndarray) -> int:
    """How many rows embed to nothing: no word, or none that another row shares."""
    return int((~embedding_ND.any(axis=1)).sum())


def _reduce(features_NF: Any, dimensions: int, seed: int) -> np.ndarray:
    """Features [N, F] on at most `dimensions` columns, float32 [N, D]."""
    from scipy.sparse import issparse

    count, width = features_NF.shape
    if width <= dimensions or not count:
        dense = features_NF.toarray() if issparse(features_NF) else features_NF
        return np.asarray(dense, np.float32)
    sample = features_NF
    if count > FIT_ROWS:
        chosen = np.random.default_rng(seed).permutation(count)[:FIT_ROWS]
        sample = features_NF[np.sort(chosen)]
    find = _sparse_directions if issparse(features_NF) else _dense_directions
    directions_FD = find(sample, min(dimensions, sample.shape[0]), seed)
    largest_D = np.abs(directions_FD).argmax(axis=0)
    directions_FD = directions_FD * np.sign(directions_FD[largest_D, np.arange(directions_FD.shape[1])])
    return np.asarray(features_NF @ directions_FD.astype(np.float32), np.float32)


def _sparse_directions(features_NF: Any, dimensions: int, seed: int) -> np.ndarray:
    """Top right singular vectors [F, D] (Halko, Martinsson, Tropp 2011)."""
    from sklearn.utils.extmath import randomized_svd

    _, _, directions_DF = randomized_svd(
        features_NF,
        n_components=dimensions,
        n_iter=POWER_ITERATIONS,
        random_state=derive32(seed, "directions"),
    )
    return directions_DF.T


def _dense_directions(features_NF: np.ndarray, dimensions: int, seed: int) -> np.ndarray:
    """Top right singular vectors [F, D], from the fp64 Gram matrix."""
    features_NF = features_NF.astype(np.float64)
    return np.linalg.eigh(features_NF.T @ features_NF)[1][:, : -dimensions - 1 : -1]


def _unit(reduced_ND: np.ndarray, blank_N: np.ndarray) -> np.ndarray:
    norms_N = np.linalg.norm(reduced_ND, axis=1)
    if not np.isfinite(norms_N).all():
        raise DataError(f"the embedder gave {int((~np.isfinite(norms_N)).sum())} rows that are not finite")
    nothing_N = blank_N | (norms_N < NOTHING)
    reduced_ND[nothing_N] = 0
    return reduced_ND / np.where(nothing_N, np.float32(1), norms_N)[:, None]
