"""The rows' embedding as a step of the store, so that another split of the same rows embeds none of them again.

It depends on what the rows say, the embedder, its settings and its model; not on the run's seed, the base's tokens
or how portions are made. An embedder of sentences runs its model in a worker, as a step before (`features`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.foundations.files import canonical, text_digest
from dtm.foundations.registry import Bound
from dtm.foundations.seeds import derive
from dtm.foundations.signals import check_embedder, embed, with_model
from dtm.foundations.signals.text import VERSION
from dtm.foundations.store import Artifact, Claim, Step
from dtm.pipeline.rows import Rows
from dtm.pipeline.steps import Work

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

SEED = derive(0, "embedding")  # of the sample and the start that a subspace is fitted from: one for all runs


def embedding(run: Run, section: Any, examples: Rows, signals: Mapping[str, Artifact]) -> Artifact:
    """`embedding.npy`, unit rows float32 [N, D], as `disperse` asks; `signals` are those of the base, by name."""
    bound = with_model(check_embedder(section.embedder), run.checked.file.root)
    needed = {name: signals[name] for name in bound.method.needs}
    inputs = {"rows": content(examples), **{f"signal {name}": one.digest for name, one in needed.items()}}
    settings: dict[str, Any] = {"on": section.on, "dimensions": section.dimensions, "texts": VERSION}
    features = None
    if "job" in bound.method.properties:
        features = _features(run, bound, section.on, examples)
        inputs["features"], settings["embedder"] = features.digest, bound.method.name
    else:
        inputs |= _model(run, bound)
        settings["embedder"] = _keyed(bound)
    waits = any(one.pending for one in (*needed.values(), *([features] if features else [])))

    def build(claim: Claim) -> dict[str, Any]:
        claim.empty()
        arrays = {name: _array(one, name) for name, one in needed.items()}
        ready = bound if features is None else _given(bound, _array(features, "features"))
        found = embed(examples.open(), embedder=ready, on=section.on, dimensions=section.dimensions, seed=SEED,
                      threads=run.checked.threads, progress=run.progress("embedding"), signals=arrays,
                      into=claim.output / "embedding.npy")  # fmt: skip
        return _facts(found)

    return run.steps.make(
        "embedding", f"{bound.method.name} of {section.on}", Step("embedding", settings, inputs), build,
        heavy=waits, needs={"rows": examples.count, "disk": 4 * examples.count * section.dimensions},
    )  # fmt: skip


def compared(run: Run, examples: Rows) -> Artifact:
    """What a split is measured in where its method embeds nothing: `rows.npy`, a sample, and their `embedding.npy`."""
    from dtm.disperse.quality import DIMENSIONS, SAMPLE, sample

    bound = check_embedder("tfidf")
    settings = {"rows": SAMPLE, "dimensions": DIMENSIONS, "embedder": bound.key}

    def build(claim: Claim) -> dict[str, Any]:
        import numpy as np

        claim.empty()
        rows_S, points_SD = sample(examples.open(), SEED, run.progress("embedding"))
        np.save(claim.output / "rows.npy", rows_S)
        np.save(claim.output / "embedding.npy", points_SD)
        return _facts(points_SD)

    return run.steps.make(
        "embedding", "a sample's words", Step("embedded_sample", settings, {"rows": content(examples)}), build
    )


def content(examples: Rows) -> str:
    """A digest of what the rows say, in order: of their ids, which are digests of their messages."""
    digest = hashlib.sha256()
    for chunk in examples.open().table.column("id").chunks:
        digest.update("\n".join(chunk.to_pylist()).encode() + b"\n")
    return digest.hexdigest()


def _features(run: Run, bound: Bound, on: str, examples: Rows) -> Artifact:
    """`features.npy`, float32 [N, F]: what the embedder's own model makes of each row, in a worker."""
    checked, settings = run.checked, dict(bound.settings)
    device = settings.pop("device", None) or checked.device
    inputs = {"rows": content(examples), **_model(run, bound)}
    numerics = {**checked.numerics, "device": device}
    step = Step("features", {"on": on, "embedder": _keyed(bound)}, inputs, None, numerics)

    def arguments(claim: Claim) -> dict[str, Any]:
        return {**settings, "examples": str(examples.file), "on": on, "output": str(claim.output),
                "scratch": str(claim.scratch), "device": device, "threads": checked.threads}  # fmt: skip

    work = Work("features", f"{bound.method.name} of {examples.count:,} rows", step,
                bound.method.properties["job"], arguments, {"rows": examples.count})  # fmt: skip
    return run.steps.make_all([work])[0]


def _model(run: Run, bound: Bound) -> dict[str, str]:
    """The part of a key that says what the embedder's model is: nothing where it has none."""
    files = bound.method.properties.get("files")
    if files is None:
        return {}
    folder, digests = Path(bound.settings["model"]), run.steps.store.digests
    found = {path.relative_to(folder).as_posix(): digests.of(path) for path in files(folder)}
    return {"model": text_digest(canonical(found))}


def _keyed(bound: Bound) -> dict[str, Any]:
    """The embedder in a key: its settings but for where its model lies, and what runs it."""
    own = {name: value for name, value in bound.settings.items() if name not in ("model", "device")}
    return {**bound.key, "settings": own}


def _given(bound: Bound, features_NF: Any) -> Bound:
    """The embedder whose features are there already; a copy, where `embed` would not make one."""
    import numpy as np

    return Bound(replace(bound.method, function=lambda texts_N, threads, progress: np.array(features_NF)), {})


def _array(artifact: Artifact, name: str) -> Any:
    import numpy as np

    return np.load(artifact.folder / f"{name}.npy", mmap_mode="r")


def _facts(embedding_ND: Any) -> dict[str, Any]:
    return {"rows": len(embedding_ND), "dimensions": int(embedding_ND.shape[1])}
