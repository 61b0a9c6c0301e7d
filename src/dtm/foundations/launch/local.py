"""Places on this machine: kept worker processes, each with its cores and pinned to its GPUs."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ConfigError
from dtm.foundations.launch.jobs import Share
from dtm.foundations.launch.places import Places
from dtm.foundations.launch.process import WorkerProcess, environment


class LocalLauncher(Places):
    """`workers` processes here; with `gpus` in the share, each is pinned to that many of `devices`.

    `threads` is short for a share of so many threads in one process. `devices` are what CUDA_VISIBLE_DEVICES
    may hold; by default `visible_gpus()`. Raises ConfigError where they are too few.
    """

    ready_early = True

    def __init__(
        self,
        *,
        workers: int = 1,
        threads: int = 1,
        share: Share | None = None,
        devices: Sequence[str] | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(share or Share(threads=threads, cpus=threads), workers=workers, log=log)
        each = self.share.gpus
        self.devices = list(visible_gpus() if devices is None and each else devices or ())
        if each * workers > len(self.devices):
            raise ConfigError(
                f"{workers} workers x {each} GPUs are more than the {len(self.devices)} of this machine",
                where="launch", mend=f"Set launch.workers to {max(1, len(self.devices) // each)}, or fewer gpus",
            )  # fmt: skip

    def open(self, slot: int) -> _Process:
        each = self.share.gpus
        pinned = ",".join(self.devices[slot * each : (slot + 1) * each]) if each else None
        return _Process(self.share.threads, pinned, self.log)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them, without asking torch."""
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        return [one.strip() for one in said.split(",") if one.strip()]
    return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


class _Process:
    """A worker process of this machine as a place: ready as soon as it is started."""

    def __init__(self, threads: int, gpus: str | None, log: Path | None) -> None:
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        sink = open(log, "ab") if log is not None else subprocess.DEVNULL  # noqa: SIM115
        try:
            self._worker = WorkerProcess(environment(threads, gpus), sink)
        finally:
            if log is not None:
                sink.close()  # type: ignore[union-attr]
        self.where = {"pid": self._worker.pid, "host": socket.gethostname(), "gpus": gpus}

    def ready(self) -> str | None:
        return None

    def answers(self, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        return self._worker.answers(message)

    def interrupt(self) -> None:
        self._worker.interrupt()

    def hang_up(self) -> None:
        self._worker.hang_up()

    def stop(self) -> None:
        self._worker.stop()
