"""`Launcher.map` for launchers of all kinds: places take jobs in turn, and one that dies is replaced.

A place is where a worker is kept: a process here, an actor of Ray, a job of Slurm. Importing TRL takes
ten seconds, so a place stays for the next job, and for the next `map`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from dtm.foundations import errors
from dtm.foundations.errors import DtmError, ResourceError, WorkerError
from dtm.foundations.launch import memory, signals
from dtm.foundations.launch.jobs import Event, Job, Share
from dtm.foundations.launch.leaving import Left
from dtm.foundations.launch.ongoing import Ongoing
from dtm.foundations.launch.printed import Printed
from dtm.foundations.launch.process import GRACE, Died

ATTEMPTS = 3
PATIENCE = 10.0  # seconds without a place after which the user hears of it
Report = Callable[[str, dict[str, Any]], None]


class Place(Protocol):
    """Where one job at a time runs."""

    def ready(self) -> str | None:
        """None once it can take a job, else what it waits for; waits a moment itself. Raises Died or DtmError."""
        ...

    @property
    def where(self) -> dict[str, Any]:
        """`host`, `pid`, `gpus`; known once it is ready."""
        ...

    def answers(self, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Hand over a job, and give the worker's answers up to the last; raises Died."""
        ...

    def interrupt(self) -> None:
        """Ask its job to keep its work at the next step and to end; one that does not heed is ended at once."""
        ...

    def hang_up(self) -> None:
        """Ask it to leave, busy or not."""
        ...

    def stop(self) -> None:
        """See that it has left."""
        ...


class Places:
    """Up to `workers` places, each with a `share`; subclasses open them.

    `ready_early`: whether a place that is opened before it is needed keeps nothing from others.
    """

    ready_early = False

    def __init__(self, share: Share, *, workers: int, log: Path | None) -> None:
        self.share, self.workers, self.log = share, workers, log
        self._places: list[Place | None] = [None] * workers
        self._closed, self._leaving, self._lock = False, False, threading.Lock()
        self._slots: list[threading.Thread] = []
        self._warming: threading.Thread | None = None

    def open(self, slot: int) -> Place:
        """A new place for that slot, which need not be ready."""
        raise NotImplementedError

    def map(
        self,
        jobs: Sequence[Job],
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        on_done: Callable[[Job, dict[str, Any]], None] = lambda job, result: None,
        on_failed: Callable[[Job, Exception], bool] = lambda job, error: False,
    ) -> list[dict[str, Any]]:
        """Run the jobs; see `Launcher.map`. Callbacks run in the calling thread.

        An error of `on_done`, such as a full disk, is that job's failure: the others go on.
        """
        if self._warming is not None and self._warming is not threading.current_thread():
            self._warming.join()
        going, self._leaving = Ongoing(jobs, on_event, on_done, on_failed), False
        slots = self._slots = [
            threading.Thread(target=self._serve, args=(slot, going), daemon=True)
            for slot in sorted(range(self.workers), key=lambda one: self._places[one] is None)[: len(jobs)]
        ]  # kept places first
        with signals.listening(lambda: going.happenings.put(None)) as signalled:
            for slot in slots:
                slot.start()
            while going.open:
                happening = going.happenings.get()
                if happening is not None:
                    going.take(*happening)
                elif not self._leaving:
                    self._leave(going)
        for slot in slots:  # one that still waits for its place gives it up
            slot.join()
        if signalled:
            raise signals.Stopped
        if going.failures:
            raise going.failures[0]
        return [result for result in going.results if result is not None]

    def _leave(self, going: Ongoing) -> None:
        """Begin no job, and ask those in hand to keep their work and end."""
        self._leaving = True
        going.stop()
        with self._lock:
            places = [place for place in self._places if place is not None]
        for place in places:
            place.interrupt()

    def warm(self, function: str) -> None:
        """Open the places and let each do that job, such as its imports, while the caller does something else.

        Returns at once; the next `map` waits for it. Whatever fails here fails again there, and is told then.
        Places that somebody else could use meanwhile, a cluster's, are not opened before they are needed.
        """
        if not self.ready_early or self._warming is not None or any(self._places):
            return
        jobs = [Job(f"warm {number}", function) for number in range(self.workers)]

        def work() -> None:
            with contextlib.suppress(DtmError):
                self.map(jobs)

        self._warming = threading.Thread(target=work, daemon=True)
        self._warming.start()

    def close(self) -> None:
        """Ask all places to leave, and see that they have. No new ones are opened."""
        with self._lock:
            self._closed = True
            places = [place for place in self._places if place is not None]
            self._places = [None] * self.workers
        for place in places:
            place.hang_up()
        for place in places:
            place.stop()
        for slot in self._slots:
            if slot.ident is not None:  # `warm` may be about to start it: it will find the launcher closed
                slot.join(GRACE)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _serve(self, slot: int, going: Ongoing) -> None:
        """Take jobs until there are none left; a place that is not ready yet keeps none from the others."""
        while self._settle(slot, going):
            try:
                index = going.waiting.popleft()
            except IndexError:
                return
            report = partial(going.report, index)
            try:
                report("done", {"result": self._attempt(slot, going.jobs[index], report)})
            except Left as left:
                report("left", {"at": left.step})
            except Exception as error:
                going.happenings.put((index, error))

    def _settle(self, slot: int, going: Ongoing) -> bool:
        """Wait until the slot's place can take a job; False where none is left, and a place not ready is given up."""
        waiting = going.waiting
        try:
            self._ready(
                slot,
                lambda reason: going.report(waiting[0], "waiting", {"reason": reason}),
                lambda: not waiting,
            )
        except (Died, DtmError):  # the attempt meets it again, and a job fails for it
            self._drop(slot)
        except IndexError:  # somebody else took the last job just now
            pass
        return bool(waiting)

    def _ready(self, slot: int, tell: Callable[[str], None], enough: Callable[[], bool]) -> Place | None:
        """The slot's place once it can take a job; None, and the place given up, if it is `enough` before."""
        end, told = time.monotonic() + PATIENCE, False
        while not enough():
            place = self._place(slot)
            reason = place.ready()
            if reason is None:
                return place
            if not told and time.monotonic() > end:
                told = True
                tell(reason)
        if (unready := self._places[slot]) is not None and unready.ready() is not None:
            self._drop(slot)
        return None

    def _attempt(self, slot: int, job: Job, report: Report) -> Any:
        printed, starved = Printed(self.log if job.log is None else Path(job.log)), 0
        for attempt in range(1, ATTEMPTS + 1):
            try:
                place = self._ready(
                    slot, lambda reason: report("waiting", {"reason": reason}), lambda: self._leaving
                )
                if place is None:
                    raise Left
                if job.log is not None:
                    printed.heading(attempt, place.where)
                report("started", {"attempt": attempt, **place.where})
                return result(job, place.answers(self._message(job)), report, printed)
            except Left as left:  # of its own: somebody asked the worker alone
                self._drop(slot)
                if self._leaving:
                    raise
                report("retry", {"reason": str(left)})
            except Died as death:
                if death.lost:
                    self._drop(slot)
                if self._leaving:
                    raise Left from None
                if self._closed:
                    raise _stopped() from None
                starved += death.starved
                if attempt == ATTEMPTS or starved == memory.ATTEMPTS:
                    raise _died(job, attempt, death, printed) from None
                report("retry", {"reason": str(death)})
        raise WorkerError(
            f"{job.name} was asked to stop {ATTEMPTS} times", mend="The same command goes on from here"
        )

    def _message(self, job: Job) -> dict[str, Any]:
        """The job as a worker reads it, with the processes that it is spread over."""
        spread = {
            "processes": self.share.processes, "threads": self.share.threads, "cpu": self.share.gpus == 0,
            "accelerate": self.share.accelerate and dict(self.share.accelerate),
        } if job.spread and is_gang(self.share) else None  # fmt: skip
        return {"function": job.function, "arguments": job.arguments, "lock": job.lock, "log": job.log,
                "gang": spread,
                "away": job.away and dict(job.away)}  # fmt: skip

    def _place(self, slot: int) -> Place:
        """The slot's place, opened if there is none."""
        with self._lock:
            if self._closed:
                raise _stopped()
            place = self._places[slot] = self._places[slot] or self.open(slot)
            return place

    def _drop(self, slot: int) -> None:
        """Give up the slot's place."""
        with self._lock:
            place, self._places[slot] = self._places[slot], None
        if place is not None:
            place.hang_up()
            place.stop()


def is_gang(share: Share) -> bool:
    """Whether a job that is spread runs under `accelerate launch`, and not in the worker itself."""
    return share.processes > 1 or share.accelerate is not None


def result(job: Job, answers: Iterable[Mapping[str, Any]], report: Report, printed: Printed) -> Any:
    """What the job returned; its progress is reported, its error raised."""
    for answer in answers:
        match answer["event"]:
            case "progress":
                report("progress", answer["data"])
            case "done":
                return answer["result"]
            case "died":  # one of its processes, or a worker that its place replaces itself
                raise Died(answer["reason"], lost=False, starved=answer.get("starved", False))
            case "left":
                raise Left(answer["at"])
            case "failed":
                kind: type[DtmError] = getattr(errors, answer["kind"])
                raise kind(answer["what"], where=answer["where"], mend=answer["mend"])
            case "crashed" if answer["memory"]:
                raise memory.OutOfMemory(
                    f"{job.name} ran out of memory: {memory.first_line(answer['what'])}", mend=memory.MEND
                )
            case "crashed" if answer.get("full"):
                raise ResourceError(
                    f"{job.name} could not write: {answer['what']}",
                    mend="Free some space (`dtm gc` removes what no run names), or set `store:` to another disk; what "
                    "was done is kept, and the same command goes on from here",
                )
            case "crashed":
                raise WorkerError(
                    f"{job.name}: {answer['what']}",
                    where=printed.log,
                    mend="The log has all of it",
                    last=printed.last_lines(),
                )
    raise AssertionError("a worker's last answer ends the job")


def _stopped() -> WorkerError:
    return WorkerError("the work was stopped: its launcher is closed")


def _died(job: Job, attempts: int, death: Died, printed: Printed) -> DtmError:
    if death.starved:
        return memory.OutOfMemory(
            f"{job.name} ran out of memory: the kernel ended its worker {attempts} times",
            where=printed.log, mend=memory.MEND,
        )  # fmt: skip
    return WorkerError(
        f"the worker of {job.name} died {attempts} times ({death})", where=printed.log, last=printed.last_lines(),
        mend="What was done is kept, and the same command goes on from there. A process that uses too much memory may "
        "be ended from outside: then try a smaller per_device_train_batch_size, max_length or launch.workers",
    )  # fmt: skip
