"""One unit vector a row: the words of its instruction or response, embedded and reduced.

An embedder is a function `f(texts_N, threads, progress, *, settings) -> features [N, F]`, registered in
`registry("embedder")`; what it needs a model of the run for comes to it as an array. One with a model of its own has
the properties `find`, which tells its folder before any work, and `files`, which it is made of; and if a worker shall
run it `job`, a worker's function that writes `features.npy`.

`texts_N` is a sequence whose texts are decoded where they are read: slice it. Features are dense, scipy sparse, or
anything with a `shape` that gives such rows for a slice or ascending row numbers, which need then not exist all at one
time. `embed` reduces them to their best-fitting subspace, in which inner products change least (Eckart and Young
1936), and scales rows to unit norm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dtm.foundations.blocks import blocks, over_blocks
from dtm.foundations.errors import ConfigError, DataError, MethodError, MissingInput
from dtm.foundations.registry import Bound, registry
from dtm.foundations.seeds import derive32
from dtm.foundations.signals import hidden, sentences, static, tfidf  # noqa: F401 - registers the embedders
from dtm.foundations.signals.text import BATCH, Side, Texts, blank
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
    into: Path | None = None,
) -> np.ndarray:
    """Unit-norm rows float32 [N, D], D <= `dimensions`; a row with nothing to embed is zero.

    `on` takes all user turns, all assistant turns or both. Features of no more than `dimensions` columns
    are kept as they are; wider ones are projected on their top right singular vectors, signs fixed so that
    the largest component is positive. The result depends on `seed`, not on the number of threads.
    `signals` [N, ...] are what the embedder declared to need, by name. `into` is a .npy file to which rows are
    written as they are made: then they come back memory-mapped, and none stays in memory.

    Raises MethodError or ConfigError on an unknown embedder or setting or a missing signal, DataError on
    features that are not finite.
    """
    from threadpoolctl import threadpool_limits

    bound = embedder if isinstance(embedder, Bound) else check_embedder(embedder)
    if dimensions < 1:
        raise ConfigError(f"{dimensions} dimensions hold nothing", where="disperse.dimensions")
    count = len(examples_N)
    features_NF = bound(Texts(examples_N, on), threads, progress, **_needs(bound, signals or {}))
    blank_N = blank(examples_N, on)
    with threadpool_limits(1, user_api="blas"):
        directions_FD = _directions(features_NF, dimensions, seed)
        width = features_NF.shape[1] if directions_FD is None else directions_FD.shape[1]
        unit_ND = _empty(into, (count, width))
        todo = list(blocks(count, BATCH))

        def work(rows: slice) -> int:
            unit_ND[rows] = _unit(features_NF[rows], directions_FD, blank_N[rows])
            return int((~np.isfinite(unit_ND[rows]).all(axis=1)).sum())

        wrong = 0
        for rows, found in zip(todo, over_blocks(work, todo, threads), strict=True):
            wrong += found
            if progress and not isinstance(features_NF, np.ndarray):  # which were made before
                progress((count + rows.stop) // 2, count)
    if wrong:
        raise DataError(f"the embedder gave {wrong} rows that are not finite")
    return unit_ND


def _needs(bound: Bound, signals: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if missing := [name for name in bound.method.needs if name not in signals]:
        raise MethodError(
            f"the embedder {bound.method.name!r} needs the signal {missing[0]!r}",
            where="disperse.embedder",
            mend="A run computes it; in Python hand it to `embed` as `signals`",
        )
    return {name: signals[name] for name in bound.method.needs}


def _empty(into: Path | None, shape: tuple[int, int]) -> np.ndarray:
    """Where rows are written to. A file of no values cannot be mapped, and is written at once."""
    if into is None or 0 in shape:
        rows = np.empty(shape, np.float32)
        if into is not None:
            np.save(into, rows)
        return rows
    return np.lib.format.open_memmap(into, "w+", np.float32, shape)


def zero_rows(embedding_ND: np.ndarray) -> int:
    """How many rows embed to nothing: no word, or none that another row shares."""
    return int((~embedding_ND.any(axis=1)).sum())


def _directions(features_NF: Any, dimensions: int, seed: int) -> np.ndarray | None:
    """Top right singular vectors [F, D] of a sample of the rows, signs fixed; None where no more are there."""
    from scipy.sparse import issparse

    count, width = features_NF.shape
    if width <= dimensions or not count:
        return None
    chosen = (
        np.random.default_rng(seed).permutation(count)[:FIT_ROWS] if count > FIT_ROWS else np.arange(count)
    )
    sample_SF = features_NF[np.sort(chosen)]
    find = _sparse_directions if issparse(sample_SF) else _dense_directions
    directions_FD = find(sample_SF, min(dimensions, len(chosen)), seed)
    largest_D = np.abs(directions_FD).argmax(axis=0)
    directions_FD = directions_FD * np.sign(directions_FD[largest_D, np.arange(directions_FD.shape[1])])
    return directions_FD.astype(np.float32)


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
    gram_FF = np.zeros((features_NF.shape[1],) * 2)
    for rows in blocks(len(features_NF), BATCH):
        block_BF = features_NF[rows].astype(np.float64)
        gram_FF += block_BF.T @ block_BF
    return np.linalg.eigh(gram_FF)[1][:, : -dimensions - 1 : -1]


def _unit(features_BF: Any, directions_FD: np.ndarray | None, blank_B: np.ndarray) -> np.ndarray:
    """A block of rows in the subspace, of unit norm, zero, or not a number, float32 [B, D]."""
    from scipy.sparse import issparse

    reduced_BD = features_BF if directions_FD is None else features_BF @ directions_FD
    reduced_BD = np.asarray(reduced_BD.toarray() if issparse(reduced_BD) else reduced_BD, np.float32)
    norms_B = np.linalg.norm(reduced_BD, axis=1)
    norms_B[~np.isfinite(norms_B)] = np.nan
    nothing_B = blank_B | (norms_B < NOTHING)
    unit_BD = reduced_BD / np.where(nothing_B, np.float32(1), norms_B)[:, None]
    unit_BD[nothing_B] = 0
    return unit_BD
