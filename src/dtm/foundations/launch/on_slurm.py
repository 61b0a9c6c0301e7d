"""Places that are Slurm jobs, through submitit: each keeps a worker and takes jobs from a folder that both sides see.

The folder holds `ready.json` (where the place is), `job-N.json` (from the driver), `answers.jsonl` (from the place),
`alive` (a number that the driver raises) and `leave`. No connection is needed, only the shared disk that Slurm has
anyway. With address `local`, submitit's own stand-in runs the jobs on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dtm.foundations.errors import MissingInput
from dtm.foundations.files import read_json, write_json
from dtm.foundations.launch.jobs import Share
from dtm.foundations.launch.places import Places
from dtm.foundations.launch.printed import append
from dtm.foundations.launch.process import GRACE, LAST, Died
from dtm.foundations.launch.remote import RemoteWorker, check_versions

OURS = {"nodes", "ntasks_per_node", "cpus_per_task", "gpus_per_node", "gpus_per_task", "num_gpus", "job_name",
        "array_parallelism", "cpus_per_gpu"}  # fmt: skip
LONG = 7 * 24 * 60  # minutes; submitit's own default is five
POLL = 0.25  # seconds between two looks into the folder
BEAT, SILENCE = (
    10.0,
    180.0,
)  # seconds between two signs of the driver's life, and without one until a place leaves
ASK = 15.0  # seconds between two questions about a job's state


def known_settings() -> list[str]:
    """What `launch.slurm` may say: submitit's names, but for those that follow from the share."""
    import submitit

    return sorted(submitit.SlurmExecutor._valid_parameters() - OURS)


class SlurmLauncher(Places):
    """Up to `workers` Slurm jobs at a time; `settings` go to submitit. Raises MissingInput where there is no Slurm."""

    def __init__(
        self,
        share: Share,
        *,
        workers: int = 1,
        address: str = "auto",
        settings: Mapping[str, Any] | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(share, workers=workers, log=log)
        if address == "auto" and shutil.which("sbatch") is None:
            raise MissingInput("there is no sbatch here, so no Slurm", where="launch.kind",
                               mend="Start the run on a login node of the cluster")  # fmt: skip
        self.address, self.settings = address, dict(settings or {})
        self._folder: Path | None = None
        self._beats, self._quiet = 0, threading.Event()

    def open(self, slot: int) -> _SlurmJob:
        import submitit

        if self._folder is None:
            shared = self.log.parent if self.log else None
            if shared is not None:
                shared.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=".slurm-", dir=shared))
            self._alive()
            threading.Thread(target=self._beat, daemon=True).start()
        executor = submitit.AutoExecutor(
            self._folder / "submitit", "local" if self.address == "local" else "slurm"
        )
        slurm = {f"slurm_{name}": value for name, value in self.settings.items()}
        executor.update_parameters(
            name="dtm", timeout_min=LONG, nodes=1, tasks_per_node=1, cpus_per_task=self.share.cpus,
            gpus_per_node=self.share.gpus, **slurm,
        )  # fmt: skip
        return _SlurmJob(
            executor, Path(tempfile.mkdtemp(prefix="place-", dir=self._folder)), self.share, self.log
        )

    def close(self) -> None:
        """End all places, and remove their folder."""
        super().close()
        self._quiet.set()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _beat(self) -> None:
        while not self._quiet.wait(BEAT):
            self._alive()

    def _alive(self) -> None:
        self._beats += 1
        write_json(self._folder / "alive", self._beats)  # type: ignore[operator]


class _SlurmJob:
    """A place, from the driver's side."""

    def __init__(self, executor: Any, folder: Path, share: Share, log: Path | None) -> None:
        self.folder, self.log, self.where = folder, log, dict[str, Any]()
        self._job = executor.submit(serve, str(folder), share.threads)
        self._jobs, self._read, self._asked = 0, 0, time.monotonic()

    def ready(self) -> str | None:
        if self.where:
            return None
        time.sleep(POLL)
        try:
            told = read_json(self.folder / "ready.json")
        except (OSError, ValueError):
            self._check_there()
            return f"Slurm job {self._job.job_id} is {self._job.state.lower()}"
        check_versions(told)
        self.where = {name: told[name] for name in ("host", "pid", "gpus")}
        return None

    def answers(self, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        log = Path(message["log"]) if message.get("log") else self.log
        write_json(self.folder / f"job-{self._jobs}.json", dict(message))
        self._jobs += 1
        while True:
            for answer in self._new():
                if answer["event"] == "log":
                    append(log, answer["text"])
                    continue
                if answer["event"] == "died":
                    self.where = {}  # told anew by the worker that takes its place
                yield answer
                if answer["event"] in LAST:
                    return
            time.sleep(POLL)
            self._check_there()

    def interrupt(self) -> None:
        (self.folder / "stop").touch()

    def hang_up(self) -> None:
        (self.folder / "leave").touch()

    def stop(self) -> None:
        """Cancel the job, unless it leaves by itself just now."""
        end = time.monotonic() + GRACE
        while not self._job.done() and time.monotonic() < end:
            time.sleep(POLL)
        if not self._job.done():
            self._job.cancel()

    def _new(self) -> list[dict[str, Any]]:
        """Whole lines that the place has written since the last look."""
        try:
            with open(self.folder / "answers.jsonl", "rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def _unread(self) -> bool:
        try:
            return (self.folder / "answers.jsonl").stat().st_size > self._read
        except FileNotFoundError:
            return False

    def _check_there(self) -> None:
        """Raise Died where the job has ended, and all that it wrote is read; Slurm is not asked all the time."""
        if time.monotonic() - self._asked < ASK:
            return
        self._asked = time.monotonic()
        if self._job.done() and not self._unread():
            raise Died(f"Slurm job {self._job.job_id} is {self._job.state.lower()}")


def serve(folder_name: str, threads: int) -> None:
    """A place, from its own side: keep a worker, take jobs, until told to leave or the driver falls silent."""
    folder = Path(folder_name)
    worker = RemoteWorker(threads)
    write_json(folder / "ready.json", worker.describe())
    silence = _Silence(folder.parent / "alive")
    try:
        for number in range(1 << 30):
            while not (folder / f"job-{number}.json").exists():
                if (folder / "leave").exists() or silence.lasts():
                    return
                time.sleep(POLL)
            worker.begin(read_json(folder / f"job-{number}.json"))
            while not _pass_on(worker, folder):
                if (folder / "leave").exists() or silence.lasts():
                    return
                if (folder / "stop").exists():
                    worker.interrupt()  # again and again: it asks for the same
    finally:
        worker.stop()


def _pass_on(worker: RemoteWorker, folder: Path) -> bool:
    """Write down what the worker has told; whether it is done with its job. One that died is replaced before that."""
    answers = worker.more(wait=1.0)
    last = {answer["event"] for answer in answers} & LAST
    if "died" in last:
        write_json(folder / "ready.json", worker.describe())
    with open(folder / "answers.jsonl", "a", encoding="utf-8") as out:
        out.writelines(json.dumps(answer) + "\n" for answer in answers)
        out.flush()
        os.fsync(out.fileno())
    return bool(last)


class _Silence:
    """How long the driver has not raised its number, by this machine's clock alone."""

    def __init__(self, file: Path) -> None:
        self.file, self.since = file, time.monotonic()
        self.seen: int | None = None

    def lasts(self) -> bool:
        try:
            told = read_json(self.file)
        except (OSError, ValueError):
            told = self.seen
        if told != self.seen:
            self.seen, self.since = told, time.monotonic()
        return time.monotonic() - self.since > SILENCE
