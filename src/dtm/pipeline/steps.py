"""Doing a step: find it in the store or do it, say which, and in planning only say what would be done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dtm.foundations.errors import ResourceError, StoreError
from dtm.foundations.files import read_json, write_json
from dtm.foundations.launch import Job, Launcher
from dtm.foundations.models import free_bytes
from dtm.foundations.store import Artifact, Claim, Step, Store, text_digest
from dtm.pipeline import away
from dtm.pipeline.display import Display
from dtm.pipeline.estimates import peak_disk
from dtm.pipeline.failing import Failure, told
from dtm.pipeline.streaming import Streaming


@dataclass
class Record:
    """What became of one step; the plan, the report's stages and `steps.json` are made of these."""

    label: str
    what: str
    step: Step
    reused: bool
    why: str = ""
    seconds: float = 0.0  # that the work took, in this run or in the one that did it
    facts: dict[str, Any] = field(default_factory=dict)
    planned: bool = False
    versions: dict[str, str] = field(default_factory=dict)  # of the packages that did the work


@dataclass(frozen=True)
class Work:
    """One step that a worker does: the job's function and, given its claim, the job's arguments."""

    label: str
    what: str
    step: Step
    function: str
    arguments: Callable[[Claim], dict[str, Any]]
    needs: dict[str, Any] = field(default_factory=dict)  # rows, tokens, steps, disk, memory: for the plan
    spread: bool = False  # over the processes that a sub-model has


class Steps:
    """Runs steps over one store; with `planning`, steps marked heavy are recorded and not done."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        display: Display,
        *,
        planning: bool,
        folder: Path,
        command: str = "",
    ) -> None:
        self.store, self.launcher, self.display = store, launcher, display
        self.planning, self.folder, self.command = planning, folder, command
        self.warm = ""  # a worker's job of imports, begun with the first step that is not there yet
        self.records: list[Record] = []
        self.planned: list[Work] = []  # works that planning left undone
        self._before = self._read("steps.json", {})
        self._named = set(self._read("keys.json", []))

    def make(
        self,
        label: str,
        what: str,
        step: Step,
        build: Callable[[Claim], Mapping[str, Any] | None],
        *,
        heavy: bool = False,
        needs: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """A step done in this process."""
        self._name(step.key)
        artifact = self.find(step) if heavy else self.store.find(step)
        if artifact is None and self.planning and heavy:
            return self._plan(label, what, step, needs or {})
        why = self.why(label, step)
        started = time.monotonic()
        if artifact is None:
            self._warm()
            self.display.start(label, what, step.name)
            self._check_room(needs or {})
            with self.store.claim(step, wait=lambda: self.display.waiting(label)) as claim:
                artifact = claim.artifact or claim.publish(build(claim))
            self._done(label, what, artifact, reused=False, why=why, seconds=time.monotonic() - started)
        else:
            self._done(label, what, artifact, reused=True)
        return artifact

    def make_all(self, works: Sequence[Work], later: Mapping[str, Any] | None = None) -> list[Artifact]:
        """Steps done by workers, side by side; each is kept as it ends, and an error is raised in the end.

        `later` is what steps behind these will need of the disk: work that could not be finished is not begun.
        """
        made, failures = self.make_some(works, later)
        if failures:
            raise told(failures, len(works), self.command)
        return [artifact for artifact in made if artifact is not None]

    def make_some(
        self, works: Sequence[Work], later: Mapping[str, Any] | None = None
    ) -> tuple[list[Artifact | None], list[Failure]]:
        """The same, with what failed told instead of raised; it has no artifact."""
        self._name(*(work.step.key for work in works))
        found = {work.step.key: self.find(work.step) for work in works}
        failures: list[Failure] = []
        missing = {work.step.key: work for work in works if found[work.step.key] is None}
        if self.planning:
            self.planned += missing.values()
            for key, work in missing.items():
                found[key] = self._plan(work.label, work.what, work.step, work.needs)
        elif missing:
            self._check_room(*(work.needs for work in missing.values()), later or {})
            done, failures = self._run(missing)
            found |= done
        for work in works:
            if work.step.key not in missing:
                self._done(work.label, work.what, found[work.step.key], reused=True)  # type: ignore[arg-type]
        return [found[work.step.key] for work in works], failures

    def derive(
        self, step: Step, build: Callable[[Claim], Mapping[str, Any] | None], *, seconds: float
    ) -> Artifact:
        """A step whose result another one's folder holds already: cheap, and with no record of its own.

        `seconds` is what that other step took, for the manifest.
        """
        self._name(step.key)
        artifact = self.store.find(step)
        if artifact is not None:
            return artifact
        if self.planning:
            return _pending(step, {})
        with self.store.claim(step) as claim:
            if claim.artifact is not None:
                return claim.artifact
            claim.empty()
            claim.started -= seconds
            return claim.publish(build(claim))

    def find(self, step: Step) -> Artifact | None:
        """The store's artifact; in planning, no more than its manifest need be on this machine."""
        return self.store.peek(step) if self.planning else self.store.find(step)

    def why(self, label: str, step: Step) -> str:
        """Which parts of the key changed since the run folder's last run of that step."""
        before = self._before.get(label)
        if before is None:
            return "new"
        changes = _differences(before, step.fields)
        return "; ".join(changes) if changes else "its result is gone from the store"

    def trained(self) -> dict[str, bool | None]:
        """By the label of each training whether it was, or in planning would be, done in this run."""
        return {record.label: not record.reused for record in self.records if record.step.name == "train"}

    def save(self, *, whole: bool) -> None:
        """Remember what each step depended on, for the next plan; after a `whole` run, name its keys alone."""
        write_json(self.folder / "steps.json", {record.label: record.step.fields for record in self.records})
        if whole:
            self._named = {record.step.key for record in self.records}
            write_json(self.folder / "keys.json", sorted(self._named))

    def _warm(self) -> None:
        """What is missing here is followed by work for workers, who have seconds of imports before them."""
        if self.warm and not self.planning:
            self.launcher.warm(self.warm)
            self.warm = ""

    def _name(self, *keys: str) -> None:
        """Let the run folder name the keys before they are looked for: `gc` spares them from now on."""
        if not self._named.issuperset(keys):
            self._named.update(keys)
            write_json(self.folder / "keys.json", sorted(self._named))

    def _run(self, missing: dict[str, Work]) -> tuple[dict[str, Artifact], list[Failure]]:
        done: dict[str, Artifact] = {}
        failures: list[Failure] = []
        claims: dict[str, Claim] = {}
        started: dict[str, float] = {}
        streaming = Streaming(self.store)
        try:
            for key in sorted(missing):  # one order for all drivers, so that two never wait for each other
                waiting = partial(self.display.waiting, missing[key].label)
                claims[key] = self.store.claim(missing[key].step, wait=waiting)
            jobs: list[Job] = []
            keys: dict[int, str] = {}
            for key, work in missing.items():
                claim = claims[key]
                if claim.artifact is not None:  # another driver finished it while we waited
                    done[key] = claim.artifact
                    self._done(work.label, work.what, claim.artifact, reused=True)
                    continue
                claim.empty()
                streaming.restore(claim)
                log, elsewhere = self.display.journal.log(work.label), away.ticket(self.store, work.step)
                job = Job(work.label, work.function, work.arguments(claim), str(claim.job_lock), work.spread,
                          log=log, away=elsewhere)  # fmt: skip
                keys[id(job)] = key
                jobs.append(job)
                self.display.queue(work.label, work.what, work.step.name, work.needs.get("steps"))

            def on_event(event: Any) -> None:
                if event.kind == "started":
                    started[keys[id(event.job)]] = time.monotonic()
                    claims[keys[id(event.job)]].started = time.monotonic()  # not while it waited for a worker
                self.display.event(event)

            def on_done(job: Job, result: dict[str, Any]) -> None:
                key = keys[id(job)]
                work = missing[key]
                done[key] = _published(claims[key], result)
                why, seconds = self.why(work.label, work.step), time.monotonic() - started[key]
                self._done(work.label, work.what, done[key], reused=False, why=why, seconds=seconds)

            def on_failed(job: Job, error: Exception) -> bool:
                failures.append(Failure(job.name, error))
                return True

            streaming.start(claims.values())
            self.launcher.map(jobs, on_event=on_event, on_done=on_done, on_failed=on_failed)
        finally:
            streaming.stop()
            for claim in claims.values():
                claim.release()
        return done, sorted(failures, key=lambda one: one.label)

    def _plan(self, label: str, what: str, step: Step, needs: Mapping[str, Any]) -> Artifact:
        self.records.append(
            Record(label, what, step, False, self.why(label, step), facts=dict(needs), planned=True)
        )
        return _pending(step, needs)

    def _done(
        self, label: str, what: str, artifact: Artifact, *, reused: bool, why: str = "", seconds: float = 0.0
    ) -> None:
        step = Step(
            artifact.manifest["step"], artifact.manifest["settings"], artifact.manifest["inputs"],
            artifact.manifest["seed"], artifact.manifest["numerics"], artifact.manifest["version"],
        )  # fmt: skip
        seconds = seconds or artifact.manifest["seconds"]
        made_with = artifact.manifest["versions"]
        facts = dict(artifact.facts)
        self.records.append(Record(label, what, step, reused, why, seconds, facts, versions=made_with))
        self.display.done(label, what, reused=reused, why=why, seconds=seconds, facts=artifact.facts,
                          kind=step.name)  # fmt: skip

    def _check_room(self, *needs: Mapping[str, Any]) -> None:
        wanted = peak_disk(needs, self.launcher.workers)
        free = free_bytes(self.store.root)
        if wanted > free:
            raise ResourceError(
                f"this run needs about {wanted / 1e9:.1f} GB more of disk, and {free / 1e9:.1f} GB are free",
                where=self.store.root,
                mend="Free some space (`dtm gc` removes what no run names), or set `store:` and "
                "`output_dir:` to another disk",
            )

    def _read(self, name: str, default: Any) -> Any:
        """What the last run left in the folder."""
        try:
            return read_json(self.folder / name)
        except (OSError, ValueError):
            return default


def _published(claim: Claim, result: Mapping[str, Any]) -> Artifact:
    """The artifact of a job that has ended, published here or by its worker."""
    if not away.is_published(result):
        return claim.publish(result)
    if (artifact := claim.adopt()) is None:
        raise StoreError(f"{claim.step.name} was published, and is not there, or damaged", where=claim.store.root,
                         mend="The same command does it again")  # fmt: skip
    return artifact


def _pending(step: Step, facts: Mapping[str, Any]) -> Artifact:
    """Stands for what a planned step will make."""
    unknown = text_digest(f"pending/{step.key}")
    manifest = {"digest": unknown, "files": {}, "facts": dict(facts), "pending": True}
    return Artifact(step.key, Path("/nonexistent"), manifest)


def _differences(before: Any, after: Any, prefix: str = "") -> list[str]:
    """Leaves in which two keys differ, as `settings.args.learning_rate: 0.0003 -> 0.0001`."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found = []
        for name in sorted(before.keys() | after.keys()):
            place = f"{prefix}.{name}" if prefix else name
            found += _differences(before.get(name), after.get(name), place)
        return found
    if before == after:
        return []
    if prefix.startswith("inputs."):
        return [f"{prefix.removeprefix('inputs.')} changed"]
    return [f"{prefix.removeprefix('settings.')}: {_short(before)} -> {_short(after)}"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
