"""Doing the runs of a study, one after another over one store: tuned arms, finished runs, and what failed."""

from __future__ import annotations

import errno
import math
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtm.foundations.errors import DtmError, ResourceError, TrainingError
from dtm.foundations.files import read_json, write_text
from dtm.foundations.launch import Launcher
from dtm.study.arms import Arms, Point, Trial
from dtm.study.file import Arm
from dtm.study.progress import Progress

FAILURE = "failure.txt"


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: the content of results.json, or the error; neither where it was left out."""

    trial: Trial
    folder: Path
    results: dict[str, Any] | None = None
    error: str | None = None
    diverged: bool = False


@dataclass(frozen=True)
class Tuned:
    """The point that an arm was tuned to, and the dev scores of all points."""

    arm: Arm
    outcomes: Sequence[Outcome]
    scores: list[float | None]  # a point's mean over the grid's seeds; None where a run of it failed
    on: str  # what was scored: the dev tasks or the loss on held-out rows
    best: int


@dataclass
class Runner:
    """Runs trials in this process with workers that stay warm; `only` these arms, if named."""

    arms: Arms
    launcher: Launcher
    progress: Progress
    only: Sequence[str] = ()
    command: str = ""
    tuned: dict[str, Tuned] = field(default_factory=dict)

    def trials(self) -> list[Trial]:
        """All runs that this command does."""
        everything = [trial for arm in self.arms.by_name.values()
                      for trial in (*self.arms.grid_trials(arm), *self.arms.final_trials(arm, {}))]  # fmt: skip
        return [trial for trial in everything if self._does(trial)]

    def finish(self) -> list[Outcome]:
        """Tune every arm, then run it under each of its seeds; what failed is an outcome as well."""
        return [outcome for arm in self.arms.by_name.values() for outcome in self._arm(arm)]

    def _arm(self, arm: Arm) -> list[Outcome]:
        point = self.point_of(arm)
        if point is not None:
            return self._all(self.arms.final_trials(arm, point))
        trials = self.arms.final_trials(arm, self.arms.points[0])
        error = f"every run that was to tune {arm.name} failed" if self._does(trials[0]) else None
        outcomes = [Outcome(trial, self.arms.folder(trial), error=error) for trial in trials]
        for outcome in outcomes if error else ():
            self.progress.impossible(outcome)
        return outcomes

    def _does(self, trial: Trial) -> bool:
        """Whether this command does that run: of a named arm, or to tune one."""
        named = [self.arms.by_name[name] for name in self.only or self.arms.by_name]
        tuning = [self.arms.tuned_as(arm) for arm in named] if trial.tuning else []
        return trial.arm in named or trial.arm in tuning

    def point_of(self, arm: Arm) -> Point | None:
        """The point at which an arm is run; None where no point of its grid could be."""
        decider = self.arms.tuned_as(arm)
        if decider is None:
            return {}
        trials = self.arms.grid_trials(decider)
        if not trials:
            return self.arms.points[0]
        if decider.name not in self.tuned:
            self.tuned[decider.name] = choose(decider, self.arms.points, self._all(trials))
        found = self.tuned[decider.name]
        return None if found.scores[found.best] is None else self.arms.points[found.best]

    def _all(self, trials: Iterable[Trial]) -> list[Outcome]:
        return [self._one(trial) for trial in trials]

    def _one(self, trial: Trial) -> Outcome:
        folder = self.arms.folder(trial)
        if not self._does(trial):
            return self._kept(trial)
        from dtm.pipeline import run

        started = time.monotonic()
        self.progress.start(trial)
        try:
            results = run(self.arms.run_file(trial), quiet=True, command=self.command, launcher=self.launcher)
        except (ResourceError, MemoryError):
            raise  # the next run would meet the same
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            outcome = self._failed(trial, error)
        except Exception as error:
            outcome = self._failed(trial, error)
        else:
            (folder / FAILURE).unlink(missing_ok=True)
            outcome = Outcome(trial, folder, results)
        self.progress.done(outcome, time.monotonic() - started)
        return outcome

    def _failed(self, trial: Trial, error: Exception) -> Outcome:
        """The outcome of a run that raised; the traceback of what is not a user's error is kept beside it."""
        known = isinstance(error, DtmError)
        text = error.message if isinstance(error, DtmError) else f"{type(error).__name__}: {error}"
        folder = self.arms.folder(trial)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / FAILURE, text + "\n" if known else traceback.format_exc())
        return Outcome(trial, folder, error=text, diverged=isinstance(error, TrainingError))

    def _kept(self, trial: Trial) -> Outcome:
        """What an earlier command left of a run that this one does not touch, if the run file is still the same."""
        folder = self.arms.folder(trial)
        try:
            results = read_json(folder / "results.json")
            file = self.arms.run_file(trial)
            if results["run"]["config"] == file.config.model_dump(mode="json"):
                return Outcome(trial, folder, results)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return Outcome(trial, folder)


def choose(arm: Arm, points: Sequence[Point], outcomes: Sequence[Outcome]) -> Tuned:
    """The point of the highest mean dev score over its seeds; of equal ones the first.

    A point with a run that failed has no score: it was not seen to work under every seed.
    """
    scores: list[float | None] = []
    on = ""
    for point in points:
        found = [dev_score(outcome.results) for outcome in outcomes if outcome.trial.point == point]
        known = [score for score in found if score is not None]
        on = known[0][1] if known else on
        scores.append(
            math.fsum(value for value, _ in known) / len(known) if len(known) == len(found) else None
        )
    ranks = [-math.inf if score is None else score for score in scores]
    best = ranks.index(max(ranks))
    return Tuned(arm, outcomes, scores, on, best)


def dev_score(results: dict[str, Any] | None) -> tuple[float, str] | None:
    """How good a run's own model is on dev, more is better, and what that is; None where nothing was measured."""
    scores = dev_scores(results) if results is not None else {}
    name = subject(results) if results is not None else None
    return (scores[name], dev_metric(results)) if name in scores and results is not None else None


def dev_scores(results: dict[str, Any]) -> dict[str, float]:
    """Dev scores by model, more is better: on the dev tasks where there are any, else minus the held-out loss."""
    block = results["results"]
    told = {row["model"]: row["score"] for row in block.get("dev") or () if row["score"] is not None}
    return told or {row["model"]: -row["loss"] for row in block.get("heldout") or ()
                    if row["source"] == "all" and row["loss"] is not None}  # fmt: skip


def dev_metric(results: dict[str, Any]) -> str:
    """What `dev_scores` are."""
    told = results["results"].get("dev") or ()
    return told[0]["metric"] if told else "held-out loss, negated"


def subject(results: dict[str, Any]) -> str | None:
    """The model that a run was about: the merged one, else the last baseline."""
    by_role = {role: [model["name"] for model in results["results"]["models"] if model["role"] == role]
               for role in ("merged", "baseline")}  # fmt: skip
    found = by_role["merged"] or by_role["baseline"]
    return found[-1] if found else None
