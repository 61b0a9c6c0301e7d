"""Places of a Ray cluster: each is an actor with the share's resources, and keeps a worker process beside it.

A sub-model on several nodes is a placement group with one actor a node. Places that the cluster cannot hold yet
are queued by Ray, and jobs go to those that are there; one whose node is lost is opened anew elsewhere. What a
worker tells comes in batches, by asking the actor for more, which works through Ray's client as well.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dtm.foundations.errors import MissingInput, ResourceError, WorkerError
from dtm.foundations.launch import signals
from dtm.foundations.launch.jobs import Event, Job, Share
from dtm.foundations.launch.places import Places
from dtm.foundations.launch.printed import append
from dtm.foundations.launch.process import LAST, Died
from dtm.foundations.launch.remote import RemoteWorker, check_versions

POLL = 0.5  # seconds that `ready` waits itself
STORE = 100 << 20  # bytes of a local cluster's object store: only small messages pass through it
ECHO = 10.0  # seconds in which a node's crash may turn out to be the echo of another node's death
# Environment variables that go to the nodes; none of them is a secret, since Ray shows them to all its users.
CARRIED = ("HF_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "NLTK_DATA", "WANDB_PROJECT",
           "WANDB_RUN_GROUP", "WANDB_MODE")  # fmt: skip


class RayLauncher(Places):
    """Up to `workers` places in the cluster at `address`: `auto`, `local`, `ray://HOST:PORT` or HOST:PORT.

    It connects at the first `map`, and leaves the cluster at `close`; one that the caller has joined already is
    used as it is and left alone. Raises MissingInput where there is no cluster, ResourceError where a local one
    is too small for a single share.
    """

    def __init__(
        self, share: Share, *, workers: int = 1, address: str = "auto", log: Path | None = None
    ) -> None:
        super().__init__(share, workers=workers, log=log)
        self.address, self._connected = address, False

    def map(
        self,
        jobs: Sequence[Job],
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        on_done: Callable[[Job, dict[str, Any]], None] = lambda job, result: None,
        on_failed: Callable[[Job, Exception], bool] = lambda job, error: False,
    ) -> list[dict[str, Any]]:
        """See `Launcher.map`."""
        import ray

        if jobs and not self._closed and not ray.is_initialized():
            with signals.kept():
                _connect(self.address)
            self._connected = True
        return super().map(jobs, on_event=on_event, on_done=on_done, on_failed=on_failed)

    def open(self, slot: int) -> _Actors:
        return _Actors(self.share, self.log, growing=self.address != "local")

    def close(self) -> None:
        """End all places; leave the cluster, which stops one that was started here."""
        super().close()
        if self._connected:
            import ray

            self._connected = False
            ray.shutdown()


def _connect(address: str) -> None:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment: dict[str, Any] = {"env_vars": carried()}
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        ray.init(address="local", num_cpus=_cores(), include_dashboard=False, object_store_memory=STORE,
                 _node_ip_address="127.0.0.1", runtime_env=environment, **quiet)  # fmt: skip
        return
    if "site-packages" not in (source := _source()).parts:  # a source tree, which the nodes need not have
        environment |= {"py_modules": [str(source / "dtm")], "excludes": ["**/__pycache__/"]}
    try:
        ray.init(address=address, runtime_env=environment, **quiet)
    except (ConnectionError, TimeoutError) as error:
        raise MissingInput(
            f"there is no Ray cluster at {address!r}: {str(error).splitlines()[0]}", where="launch.address",
            mend="Start one with `ray start --head`, or set address: local",
        ) from None  # fmt: skip


def carried() -> dict[str, str]:
    """The environment that goes along: where dtm and the user's modules are, if the nodes see the same disk."""
    paths = [str(_source()), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    whole = [os.path.abspath(path) for path in dict.fromkeys(paths) if path]
    return {
        "PYTHONPATH": os.pathsep.join(whole),
        **{name: os.environ[name] for name in CARRIED if name in os.environ},
    }


def _source() -> Path:
    """The folder that holds the package."""
    import dtm

    return Path(dtm.__file__).parents[1]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker(RemoteWorker):
    """The actor."""

    def meeting_place(self) -> dict[str, Any]:
        """This node as the others see it, and a port on which nobody listened just now."""
        import ray

        with socket.socket() as probe:
            probe.bind(("", 0))
            return {"address": ray.util.get_node_ip_address(), "port": probe.getsockname()[1]}


class _Actors:
    """A place: an actor a node, in a placement group where there are several."""

    def __init__(self, share: Share, log: Path | None, *, growing: bool) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self.share, self.log, self._group = share, log, None
        each = {"num_cpus": share.cpus // share.nodes, "num_gpus": share.gpus // share.nodes}
        if not growing:
            _check_fits(each)
        options = [{**each, "runtime_env": {"env_vars": carried()}} for _ in range(share.nodes)]
        if share.nodes > 1:
            bundle = {"CPU": each["num_cpus"], **({"GPU": each["num_gpus"]} if share.gpus else {})}
            self._group = ray.util.placement_group([bundle] * share.nodes, strategy="STRICT_SPREAD")
            for node, one in enumerate(options):
                one["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._group, node)
        remote: Any = ray.remote(_Worker)
        self._actors = [remote.options(**one).remote(share.threads) for one in options]
        self._describe()

    def _describe(self) -> None:
        """Ask the actors where they are, and let them replace a worker that died."""
        self._told = [actor.describe.remote() for actor in self._actors]
        self._known: list[dict[str, Any]] | None = None

    def ready(self) -> str | None:
        import ray

        if self._known is None:
            if ray.wait(self._told, num_returns=len(self._told), timeout=POLL)[1]:
                gpus = f" and {self.share.gpus} GPUs" if self.share.gpus else ""
                nodes = f" on {self.share.nodes} nodes" if self.share.nodes > 1 else ""
                return f"{self.share.cpus} CPUs{gpus}{nodes} are wanted, and the cluster has none free"
            self._known = _get(self._told)
            for one in self._known:
                check_versions(one)
        return None

    @property
    def where(self) -> dict[str, Any]:
        assert self._known is not None
        hosts = ", ".join(one["host"] for one in self._known)
        return {"host": hosts, "pid": self._known[0]["pid"], "gpus": self._known[0]["gpus"]}

    def answers(self, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What the first node's worker tells, once all nodes are done; a failure of another is the place's."""
        log = Path(message["log"]) if message.get("log") else self.log
        messages = self._messages(message)
        busy = self._actors[: len(messages)]
        _get([actor.begin.remote(one) for actor, one in zip(busy, messages, strict=True)])
        asked = {actor.more.remote(): node for node, actor in enumerate(busy)}
        result: dict[str, Any] = {}
        while asked:
            node, answers = _next(asked)
            last = None
            for answer in answers:
                if answer["event"] == "log":
                    append(log, answer["text"])
                elif answer["event"] in LAST:
                    last = answer
                elif node == 0:
                    yield answer
            if last is None:
                asked[busy[node].more.remote()] = node
            elif last["event"] != "done":
                _outlive(asked)
                self._describe()
                yield last
                return
            elif node == 0:
                result = last
        yield result

    def interrupt(self) -> None:
        for actor in self._actors:
            actor.interrupt.remote()

    def hang_up(self) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)
        if self._group is not None:
            ray.util.remove_placement_group(self._group)

    def stop(self) -> None:
        """Ray ends actors itself, and their workers leave as their inputs close."""

    def _messages(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The job for each node: only the first one holds the lock, and all meet at its address."""
        if len(self._actors) == 1 or not message["gang"]:
            return [dict(message)]
        place = {"nodes": len(self._actors), **_get([self._actors[0].meeting_place.remote()])[0]}
        return [
            {**message, "gang": {**message["gang"], **place, "node": node}, "lock": None if node else message["lock"]}
            for node in range(len(self._actors))
        ]  # fmt: skip


def _next(asked: dict[Any, int]) -> tuple[int, list[dict[str, Any]]]:
    """The next batch of answers, and the node that it is from."""
    import ray

    done = ray.wait(list(asked), num_returns=1)[0][0]
    return asked.pop(done), _get([done])[0]


def _outlive(asked: dict[Any, int]) -> None:
    """Raise Died if another node is lost: the failure was its echo."""
    end = time.monotonic() + ECHO
    while asked and time.monotonic() < end:
        _next(asked)


def _get(references: list[Any]) -> list[Any]:
    """Their values; Died where an actor, or the node that it was on, is gone."""
    import ray

    try:
        return ray.get(references)
    except ray.exceptions.RayTaskError as error:
        raise WorkerError(f"a place of the cluster could not be opened: {error.cause!r}") from None
    except ray.exceptions.RayError as error:
        raise Died(f"its node or its place was lost: {str(error).splitlines()[0]}") from None


def _check_fits(each: Mapping[str, int]) -> None:
    import ray

    there = ray.cluster_resources()
    for name, wanted in (("CPU", each["num_cpus"]), ("GPU", each["num_gpus"])):
        if wanted > there.get(name, 0):
            raise ResourceError(
                f"a sub-model wants {wanted} {name}s, and this machine has {there.get(name, 0):.0f}",
                where="launch", mend="Ask for less, or give the address of a larger cluster",
            )  # fmt: skip
