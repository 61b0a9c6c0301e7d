"""Kept worker processes on this machine.

Importing TRL takes ten seconds, so a worker stays for the next job; one that dies is replaced and its
job is given out again. A subprocess, and not multiprocessing's forkserver: the child does not import
the caller's `__main__` again, so `dtm.run(...)` works from an unguarded script, and the same entry
point serves launchers on other machines.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dtm.foundations import errors
from dtm.foundations.errors import DtmError, ResourceError, WorkerError
from dtm.foundations.launch.jobs import Event, Job

ATTEMPTS = 3


class LocalLauncher:
    """`workers` processes with `threads` threads each; `log` receives what they print."""

    def __init__(self, *, workers: int = 1, threads: int = 1, log: Path | None = None) -> None:
        self.workers, self.threads, self.log = workers, threads, log
        self._processes: list[_Worker | None] = [None] * workers
        self._closed, self._lock = False, threading.Lock()

    def map(
        self,
        jobs: Sequence[Job],
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        on_done: Callable[[Job, dict[str, Any]], None] = lambda job, result: None,
    ) -> list[dict[str, Any]]:
        """Run the jobs; see `Launcher.map`. Callbacks run in the calling thread.

        An error of `on_done`, such as a full disk, is that job's failure: the others go on.
        """
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in range(len(jobs)):
            waiting.put(index)
        happenings: queue.SimpleQueue[tuple[int, Event | Exception]] = queue.SimpleQueue()
        for slot in range(min(self.workers, len(jobs))):
            serve = threading.Thread(target=self._serve, args=(slot, jobs, waiting, happenings), daemon=True)
            serve.start()
        results: list[dict[str, Any] | None] = [None] * len(jobs)
        failures: list[Exception] = []
        ended = 0
        while ended < len(jobs):
            index, event = happenings.get()
            if isinstance(event, Exception):
                ended += 1
                failures.append(event)
                on_event(Event("failed", jobs[index], {"reason": str(event)}))
                continue
            if event.kind == "done":
                ended += 1
                results[index] = event.data["result"]
                try:
                    on_done(event.job, event.data["result"])
                except Exception as error:
                    failures.append(error)
                    event = Event("failed", event.job, {"reason": str(error)})
            on_event(event)
        if failures:
            raise failures[0]
        return [result for result in results if result is not None]

    def close(self) -> None:
        """Close all workers' inputs; they leave by themselves, busy or not. No new ones are started."""
        with self._lock:
            self._closed = True
            workers = [worker for worker in self._processes if worker is not None]
            self._processes = [None] * self.workers
        for worker in workers:
            worker.hang_up()
        for worker in workers:
            worker.stop()

    def __enter__(self) -> LocalLauncher:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _serve(self, slot: int, jobs: Sequence[Job], waiting: queue.SimpleQueue, happenings: Any) -> None:
        while True:
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            job = jobs[index]

            def report(kind: str, data: dict[str, Any], index: int = index, job: Job = job) -> None:
                happenings.put((index, Event(kind, job, data)))

            try:
                report("done", {"result": self._attempt(slot, job, report)})
            except Exception as error:
                happenings.put((index, error))

    def _attempt(self, slot: int, job: Job, report: Callable[[str, dict[str, Any]], None]) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            worker = self._worker(slot, job)
            report("started", {"attempt": attempt, "pid": worker.process.pid})
            try:
                return worker.run(job, report)
            except _Died as death:
                with self._lock:
                    self._processes[slot] = None
                if self._closed:
                    raise _stopped(job) from None
                if attempt == ATTEMPTS:
                    raise WorkerError(
                        f"the worker of {job.name} died {attempt} times ({death})",
                        where=self.log,
                        mend="The kernel ends a process that uses too much memory: try a smaller "
                        "per_device_train_batch_size, max_length or launch.workers; what was done is kept, "
                        "and the same command goes on from there",
                    ) from None
                report("retry", {"reason": str(death)})
        raise AssertionError("unreachable")

    def _worker(self, slot: int, job: Job) -> _Worker:
        """The slot's process, started if there is none."""
        with self._lock:
            if self._closed:
                raise _stopped(job)
            worker = self._processes[slot] = self._processes[slot] or _Worker(self.threads, self.log)
            return worker


def _stopped(job: Job) -> WorkerError:
    return WorkerError(f"{job.name} was stopped: its launcher is closed")


class _Died(Exception):
    """A worker left while it had a job."""


class _Worker:
    """One process and its two pipes."""

    def __init__(self, threads: int, log: Path | None) -> None:
        self.log = log
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        sink = open(log, "ab") if log is not None else subprocess.DEVNULL  # noqa: SIM115
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dtm.foundations.launch.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True, encoding="utf-8",
                env=environment(threads),
            )  # fmt: skip
        finally:
            if log is not None:
                sink.close()  # type: ignore[union-attr]

    def run(self, job: Job, report: Callable[[str, dict[str, Any]], None]) -> Any:
        message = {"function": job.function, "arguments": job.arguments, "lock": job.lock}
        try:
            self.process.stdin.write(json.dumps(message) + "\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
            for line in self.process.stdout:  # type: ignore[union-attr]
                answer = json.loads(line)
                match answer.pop("event"):
                    case "progress":
                        report("progress", answer["data"])
                    case "done":
                        return answer["result"]
                    case "failed":
                        raise getattr(errors, answer.pop("kind"))(answer.pop("what"), **answer)
                    case "crashed":
                        raise self._crash(job, answer)
        except (BrokenPipeError, json.JSONDecodeError):
            pass
        self.hang_up()
        code = self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]
        raise _Died(f"signal {-code}" if code < 0 else f"exit code {code}")

    def _crash(self, job: Job, answer: dict[str, Any]) -> DtmError:
        if answer["memory"]:
            return ResourceError(
                f"{job.name} ran out of memory: {answer['what']}",
                mend="Use a smaller per_device_train_batch_size (with gradient_accumulation_steps), a "
                "smaller max_length, gradient_checkpointing: true, or LoRA; the same command goes on from "
                "here",
            )
        return WorkerError(f"{job.name}: {answer['what']}", where=self.log, mend="The log has the traceback")

    def hang_up(self) -> None:
        """Close the worker's input, at which it leaves."""
        with contextlib.suppress(BrokenPipeError):  # what stood in the buffer of a dead worker is lost
            self.process.stdin.close()  # type: ignore[union-attr]

    def stop(self) -> None:
        """Wait until the worker has left, or kill it."""
        self.hang_up()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]


def environment(threads: int) -> dict[str, str]:
    """The worker's environment: threads are set before torch is imported, and wait without spinning."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONWARNINGS": "ignore",
    }
