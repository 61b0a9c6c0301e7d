"""A step's job on a machine without the driver's disk: what it reads comes from the store's URL, and goes back there.

The worker publishes the step in a cache of its own, files first and manifest last, and the driver then finds it as it
finds what any other machine has made. Checkpoints stream from there as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dtm.foundations.errors import StoreError
from dtm.foundations.mirror import MirroredStore
from dtm.foundations.store import Claim, Step, Store
from dtm.pipeline.streaming import Streaming

WORK = "dtm.pipeline.away:work"
PUBLISHED = "published by the worker"  # a job's result in place of the function's
Send = Callable[[dict[str, Any]], None]


def ticket(store: Store, step: Step) -> dict[str, Any] | None:
    """What a job carries along for a machine without the driver's disk; None where the store has no URL."""
    if not isinstance(store, MirroredStore):
        return None
    fields = {name: value for name, value in step.fields.items() if name != "format"}
    return {"function": WORK, "url": store.remote.url, "root": str(store.root), "step": fields}


def is_published(result: Mapping[str, Any]) -> bool:
    """Whether a job's result says that its worker has published the step."""
    return PUBLISHED in result


def work(job: dict[str, Any], send: Send, answer: Callable[[dict[str, Any], Send], None]) -> None:
    """Do a worker's message in this machine's cache, and publish the step at the URL; `answer` runs the function."""
    away = job["away"]
    if (job.get("gang") or {}).get("nodes", 1) > 1:
        raise StoreError("a sub-model on several machines needs a disk that they share", where=away["url"],
                         mend="Set DTM_CACHE to a folder of one, or launch.nodes to 1")  # fmt: skip
    fields = dict(away["step"])
    store = MirroredStore(away["url"])
    with store.claim(Step(fields.pop("step"), **fields)) as claim:
        if claim.artifact is None and not _made(claim, store, job, send, answer):
            return  # it has told why
    send({"event": "done", "result": {PUBLISHED: True}})


def _made(claim: Claim, store: MirroredStore, job: dict[str, Any], send: Send, answer: Any) -> bool:
    """Whether the function came to its end, and the step was published."""
    claim.empty()
    arguments = _here(job["arguments"], Path(job["away"]["root"]), store)
    result: list[dict[str, Any]] = []

    def told(message: dict[str, Any]) -> None:
        if message["event"] == "done":
            result.append(message["result"])
        else:
            send(message)

    streaming = Streaming(store)
    streaming.restore(claim)
    streaming.start([claim])
    try:
        answer({**job, "arguments": arguments, "lock": str(claim.job_lock)}, told)
        if result:
            claim.publish(result[0])
    finally:
        streaming.stop()
    return bool(result)


def _here(value: Any, root: Path, store: MirroredStore) -> Any:
    """The arguments with paths of the driver's cache as those of this one; artifacts that they name are fetched."""
    if isinstance(value, Mapping):
        return {name: _here(one, root, store) for name, one in value.items()}
    if isinstance(value, list):
        return [_here(one, root, store) for one in value]
    if not isinstance(value, str) or not value.startswith(f"{root}/"):
        return value
    place, _, rest = value.removeprefix(f"{root}/").partition("/")
    if place == "objects":
        store.bring(rest.split("/")[0])
    return str(store.root / place / rest)
