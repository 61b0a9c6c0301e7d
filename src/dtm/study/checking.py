"""Before any work: every arm at every point of the grid is checked as a run would be; all mistakes at once."""

from __future__ import annotations

from dtm.foundations.errors import ConfigError, DtmError, MethodError, several
from dtm.pipeline.checks import Checked
from dtm.pipeline.checks import check as check_run
from dtm.study.arms import ArmFile, Arms, Point, Trial, checkpoints_of
from dtm.study.comparing import MEANS
from dtm.study.file import Arm


def check(arms: Arms) -> Checked:
    """Bind and open all that the arms name, and return what was checked of one of them.

    Seeds change no name and no setting, so that each arm is checked under its first. A mistake that arms share
    is told once.
    """
    found: dict[str, DtmError] = {}
    checked: Checked | None = None
    for arm in arms.by_name.values():
        for trial in _trials(arms, arm):
            try:
                checked = check_run(file := arms.run_file(trial))
                _check_curve(arms, arm, file)
                if checked.config.on_failure == "drop":
                    raise ConfigError(
                        f"the arm {arm.name} would drop a sub-model that fails, and be compared as if it were whole",
                        where="on_failure", mend="Leave it out: a run that fails is told by the study, and tried again",
                    )  # fmt: skip
            except DtmError as error:
                found |= {part.message: part for part in getattr(error, "parts", [error])}
    if not found:
        assert checked is not None  # a study has an arm
        found |= _check_tasks(arms, checked)
    if found:
        raise several(list(found.values()))
    return checked  # type: ignore[return-value]


def _check_curve(arms: Arms, arm: Arm, file: ArmFile) -> None:
    """An arm that `curves` names keeps checkpoints."""
    asked = arms.file.config.curves
    if arm.name in asked and not checkpoints_of(file.document.values):
        raise ConfigError(
            f"the arm {arm.name} keeps no checkpoints, so that it has no curve",
            where=arms.file.document.where(f"curves.{asked.index(arm.name)}"),
            mend="Give its recipe some: recipe: {name: vanilla_sft, checkpoints: 8}",
        )


def _trials(arms: Arms, arm: Arm) -> list[Trial]:
    """The arm at each point that it may be run at."""
    seed = arms.file.seeds_of(arm)[0]
    points: list[Point] = arms.points if arms.tuned_as(arm) is arm else arms.points[:1]
    if arms.tuned_as(arm) is None:
        points = [{}]
    return [Trial(arm, seed, point, False) for point in points]


def _check_tasks(arms: Arms, checked: Checked) -> dict[str, DtmError]:
    """`gains` and `costs` name tasks that are evaluated, each once."""
    known = [task.name for task in checked.tasks]
    config, where = arms.file.config, arms.file.document.where
    errors: list[DtmError] = []
    for key in ("gains", "costs"):
        for index, name in enumerate(getattr(config, key)):
            if name not in known:
                errors.append(_no_task(name, known, where(f"{key}.{index}")))
    for name in known:
        if name in MEANS:
            mend = f"Give it a `name` of its own: a study's means are called {', '.join(MEANS)}"
            errors.append(ConfigError(f"a task cannot be called {name!r}", where="evaluate.tasks", mend=mend))
    if both := sorted(set(config.gains) & set(config.costs)):
        errors.append(ConfigError(f"{both[0]!r} is both a gain and a cost", where=where("costs")))
    return {error.message: error for error in errors}


def _no_task(name: str, known: list[str], where: str) -> MethodError:
    return MethodError(f"no task {name!r} is evaluated", where=where, mend=f"There is: {', '.join(known)}")
