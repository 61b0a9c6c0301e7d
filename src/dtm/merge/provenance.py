"""sha256 of everything that went into a merge, told in its card: what was merged, and not only what it was called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from dtm.merge.adapter import CONFIG, WEIGHTS
from dtm.merge.planning import Plan

Digest = Callable[[Path], str]


def input_files(plan: Plan) -> dict[str, Path]:
    """The files that decide the result, by a name for the card: `base: model.safetensors`, `sub-model 1: ...`."""
    found = {f"base: {path.name}": path for path in (plan.inputs.base.files if plan.inputs.base else ())}
    for number, model in enumerate(plan.inputs.models):
        paths = list(model.checkpoint.files) if model.checkpoint else []
        if model.adapter is not None:
            paths += [model.adapter.folder / CONFIG, model.adapter.folder / WEIGHTS]
        found |= {f"sub-model {number}: {path.name}": path for path in paths}
    statistics = dict.fromkeys(one.path for job in plan.jobs for one in job.statistics)
    return found | {
        f"statistics {number}: {path.name}": path for number, path in enumerate(sorted(statistics))
    }


@contextmanager
def hashing(plan: Plan, digest: Digest | None) -> Iterator[Callable[[], dict[str, str]]]:
    """Hash the inputs in a thread of its own meanwhile; what is yielded waits for {name: sha256}.

    Without a `digest` it is {}.
    """
    if digest is None:
        yield dict
        return
    executor = ThreadPoolExecutor(1)
    try:
        started: Future[dict[str, str]] = executor.submit(_digests, input_files(plan), digest)
        yield started.result
    finally:
        executor.shutdown(cancel_futures=True)


def _digests(files: dict[str, Path], digest: Digest) -> dict[str, str]:
    return {name: digest(path) for name, path in files.items()}
