"""From a study file to run files: one for each arm, seed and point of the grid, every key with its line."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from dtm.config import Config, RunFile
from dtm.foundations.errors import ConfigError, DtmError, several
from dtm.foundations.yaml import Document
from dtm.study.file import OURS, SHARED, Arm, StudyFile

Point = dict[str, Any]  # run-file keys with one value each
NAMES = ("method", "name")  # a section that names another one is another section


@dataclass(frozen=True)
class Placed(Document):
    """A run file's values that were put together from several places: (document, key) by our key."""

    places: dict[str, tuple[Document, str]] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """`file:line: key` as it was written; the nearest ancestor that was written at all."""
        probe = key
        while probe and probe not in self.places:
            probe = probe.rpartition(".")[0]
        if not probe:
            return super().where(key)
        document, written = self.places[probe]
        return document.where(written + key[len(probe) :])

    def put(self, key: str, value: Any, document: Document, written: str) -> None:
        """Set a dotted key. Mappings go into one another; of a section whose method changes, the settings that
        belong to the method go.
        """
        *parents, last = key.split(".")
        target = self.values
        for name in parents:
            if not isinstance(target.get(name), dict):
                target[name] = {}
            target = target[name]
        if isinstance(value, Mapping) and isinstance(before := target.get(last), dict):
            target[last] = {
                name: before[name] for name in before if name not in _obsolete(key, before, value)
            }
            for name, inner in value.items():
                self.put(f"{key}.{name}", inner, document, f"{written}.{name}")
            return
        target[last] = deepcopy(value)
        for old in [old for old in self.places if old == key or old.startswith(f"{key}.")]:
            del self.places[old]
        self.places[key] = (document, written)


class ArmFile(RunFile):
    """The run file of one arm, seed and point; its name tells which."""

    def __init__(self, document: Document, root: Path, name: str) -> None:
        self._name = name
        super().__init__(document)
        self.root = root

    @property
    def name(self) -> str:
        return self._name


@dataclass(frozen=True)
class Trial:
    """One run of a study: an arm under a seed at a point of the grid, to tune it or for the table."""

    arm: Arm
    seed: int
    point: Point
    tuning: bool

    @property
    def label(self) -> str:
        values = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in self.point.items())
        return f"{self.arm.name}, seed {self.seed}" + (f", {values}" if self.tuning and values else "")


class Arms:
    """The arms of a study file and the run files that they mean."""

    def __init__(self, file: StudyFile) -> None:
        self.file = file
        self.by_name = {arm.name: arm for arm in file.config.arms}

    @cached_property
    def points(self) -> list[Point]:
        """All combinations of the grid's values; one empty point without a grid."""
        over = self.file.config.grid.over if self.file.config.grid else {}
        return [dict(zip(over, values, strict=True)) for values in product(*over.values())]

    def tuned_as(self, arm: Arm) -> Arm | None:
        """The arm whose grid decides this one's point: itself, another, or None."""
        if self.file.config.grid is None or arm.grid is False:
            return None
        return arm if arm.grid is True else self.by_name[arm.grid]

    def grid_trials(self, arm: Arm) -> list[Trial]:
        """The runs that tune an arm, point by point; none where there is nothing to choose."""
        grid = self.file.config.grid
        if grid is None or self.tuned_as(arm) is not arm or len(self.points) < 2:
            return []
        seeds = grid.seeds or self.file.seeds_of(arm)
        return [Trial(arm, seed, point, True) for point in self.points for seed in seeds]

    def final_trials(self, arm: Arm, point: Point) -> list[Trial]:
        """The runs that the table is made of."""
        return [Trial(arm, seed, point, False) for seed in self.file.seeds_of(arm)]

    def run_file(self, trial: Trial) -> ArmFile:
        """The run file of a trial. Raises ConfigError for keys or values that a run file cannot have.

        A run that tunes is scored on no test item: its `evaluate.tasks` are empty. What overlaps with them it drops
        as the finished runs do.
        """
        document = self._document(trial.arm)
        for key, value in trial.point.items():
            document.put(key, value, self.file.document, f"grid.over.{key}")
        values = document.values
        folder = self.folder(trial)
        values |= {
            "seed": trial.seed,
            "output_dir": str(folder),
            "store": str(self.file.store),
            "baselines": [],
        }
        if values.get("decontaminate") is not None:
            tested = (values.get("evaluate") or {}).get("tasks", [])
            values["decontaminate"] = {"tasks": tested, **values["decontaminate"]}
        values["evaluate"] = self._evaluate(values, trial)
        import yaml

        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        name = f"{self.file.config.study}: {trial.label}"
        return ArmFile(replace(document, text=text), self.file.root, name)

    def folder(self, trial: Trial) -> Path:
        """Where a trial's run folder is."""
        root = self.file.output_dir / "runs" / trial.arm.name
        point = root / "grid" / str(self.points.index(trial.point)) if trial.tuning else root
        return point / f"seed-{trial.seed}"

    def _document(self, arm: Arm) -> Placed:
        """What all arms share, with the arm's own keys over it."""
        file, index = self.file, list(self.by_name).index(arm.name)
        document = Placed({}, {}, file.document.path)
        for key, value in file.config.run.items():
            if key not in OURS:
                document.put(key, value, file.shared, f"{file.prefix}.{key}".lstrip("."))
        errors: list[DtmError] = []
        for key, value in arm.overrides.items():
            section = key.partition(".")[0]
            if section in (*OURS, *SHARED):
                errors.append(ConfigError(
                    f"an arm cannot have a {section!r} of its own", where=file.document.where(f"arms.{index}.{key}"),
                    mend="Only what is the same for all arms can be compared: set it under `run`",
                ))  # fmt: skip
            else:
                document.put(key, value, file.document, f"arms.{index}.{key}")
        if errors:
            raise several(errors)
        return document

    def _evaluate(self, values: dict[str, Any], trial: Trial) -> dict[str, Any]:
        """What is evaluated: for tuning the dev items alone; the curve where checkpoints are kept, on both."""
        given = dict(values.get("evaluate") or {})
        models = ["base", "baselines", "merged"]
        if trial.tuning:
            return {**given, "tasks": [], "models": models[1:], "heldout": False, "dev": True}
        curve = trial.arm.name in self.file.curves and checkpoints_of(values) > 0
        return {**given, "models": [*models, *(["checkpoints"] if curve else [])], "dev": curve}


def checkpoints_of(values: Mapping[str, Any]) -> int:
    """How many points of its training the recipe keeps."""
    recipe = values.get("recipe")
    return int(recipe.get("checkpoints") or 0) if isinstance(recipe, Mapping) else 0


def label_of(point: Point) -> str:
    """A point in words: `learning_rate 0.001`."""
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in point.items())


def _obsolete(key: str, before: Mapping[str, Any], value: Mapping[str, Any]) -> set[str]:
    """Settings in `before` of a method that `value` replaces: all but those that every method of the section has."""
    if all(name not in value or before.get(name) == value[name] for name in NAMES):
        return set()
    section = Config.model_fields[key].annotation if key in Config.model_fields else None
    return set(before) - set(getattr(section, "model_fields", ()))
