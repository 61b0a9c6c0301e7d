"""What a study file may say, and what all arms share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, field_validator

from dtm.config import Section, folder_of, store_of, url_of, validate
from dtm.foundations.errors import ConfigError, DtmError, several
from dtm.foundations.registry import unknown
from dtm.foundations.urls import check_url, is_url
from dtm.foundations.yaml import Document, assign, load

NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
OURS = ("seed", "output_dir", "baselines", "store")  # keys that the study sets
SHARED = ("base", "model", "chat", "dev", "evaluate", "launch")  # or arms could not be compared
TAKEN = ("base", "peak", "oracle")  # what tables call the other references


class Grid(Section):
    """`over`: run-file keys and the values to try, all combinations, the same for every arm.

    `seeds` are those that arms are tuned on; the study's own by default.
    """

    over: dict[str, list[Any]] = Field(min_length=1)
    seeds: list[int] | None = Field(default=None, min_length=1)

    @field_validator("over")
    @classmethod
    def _filled(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if empty := [key for key, values in value.items() if not values]:
            raise ValueError(f"a list with at least one value for {empty[0]}")
        return value


class Arm(Section):
    """One row of the table: a recipe, and any run-file keys in which it differs from `run`.

    `grid: false` leaves the arm untuned, and `grid: NAME` lets it take what that arm was tuned to.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str
    seeds: list[int] | None = Field(default=None, min_length=1)
    grid: bool | str = True

    @property
    def overrides(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class StudyConfig(Section):
    """A whole study file. `gains` and `costs` name the tasks that tuning teaches and those it may harm; `curves`
    the arms, beside `against`, whose checkpoints are evaluated.
    """

    study: str
    run: dict[str, Any]
    seeds: list[int] = Field(default=[0], min_length=1)
    grid: Grid | None = None
    arms: list[Arm] = Field(min_length=1)
    against: str | None = None
    gains: list[str] = []
    costs: list[str] = []
    curves: list[str] = []
    output_dir: str


class StudyFile:
    """A parsed study file: `config`, the document, and where the keys of `run` stand."""

    def __init__(self, document: Document, shared: Document, prefix: str) -> None:
        self.document, self.shared, self.prefix = document, shared, prefix
        self.config = validate(document, StudyConfig)
        self.root = shared.path.parent.absolute() if shared.path else Path.cwd()
        if is_url(self.config.output_dir):
            check_url(self.config.output_dir, where=document.where("output_dir"))
        _check(self)

    @property
    def output_url(self) -> str | None:
        """`output_dir:` if it is a URL."""
        return url_of(self.config.output_dir)

    @property
    def output_dir(self) -> Path:
        """Relative to the current folder, as a command's outputs are; of a URL, its place in this machine's cache."""
        return folder_of(self.config.output_dir)

    @property
    def store(self) -> Path | str:
        """The store that `run` names, else `.dtm-store` beside the study's folder: studies share what they can."""
        return store_of(self.config.run.get("store"), self.config.output_dir)

    @property
    def against(self) -> str:
        """The arm that the others are compared with: as said, else the first of vanilla_sft, else the first."""
        if self.config.against:
            return self.config.against
        vanilla = [arm.name for arm in self.config.arms if recipe_of(arm.overrides) == "vanilla_sft"]
        return (vanilla or [self.config.arms[0].name])[0]

    @property
    def curves(self) -> list[str]:
        """The arms whose checkpoints are evaluated, where they keep any: `against` first."""
        return list(dict.fromkeys([self.against, *self.config.curves]))

    def seeds_of(self, arm: Arm) -> list[int]:
        return arm.seeds or self.config.seeds


def read(source: Path | str | Mapping[str, Any], settings: Sequence[str] = ()) -> StudyFile:
    """Read a study file (or take a mapping), apply `key=value` settings, and check names and types.

    A `run:` that is a path is read and stands in the file from then on, so that settings may reach into it.
    """
    import yaml

    document = Document(_copy(source)) if isinstance(source, Mapping) else load(source)
    shared, prefix = document, "run"
    if isinstance(path := document.values.get("run"), str):
        shared, prefix = load((document.path.parent if document.path else Path.cwd()) / path), ""
        document.values["run"] = shared.values
    for setting in settings:
        assign(document.values, setting)
    text = yaml.safe_dump(document.values, sort_keys=False, allow_unicode=True)
    return StudyFile(replace(document, text=text), shared, prefix)


def recipe_of(values: Mapping[str, Any]) -> str | None:
    """The name of the recipe in a run file's values, or None where it says none."""
    recipe = values.get("recipe")
    return recipe.get("name") if isinstance(recipe, Mapping) else recipe


def _copy(source: Mapping[str, Any]) -> dict[str, Any]:
    import json

    return json.loads(json.dumps(source, default=str))


def _check(file: StudyFile) -> None:
    """What pydantic cannot see: names that meet, seeds that pair."""
    config, where = file.config, file.document.where
    names = [arm.name for arm in config.arms]
    errors: list[DtmError] = []
    for index, arm in enumerate(config.arms):
        place = where(f"arms.{index}.name")
        if not NAME.fullmatch(arm.name) or arm.name in TAKEN:
            mend = f"Use letters, digits and _ . + -, and none of {', '.join(TAKEN)}"
            errors.append(ConfigError(f"{arm.name!r} cannot be an arm's name", where=place, mend=mend))
        if arm.name in names[:index]:
            errors.append(ConfigError(f"there are two arms {arm.name!r}", where=place))
        if strange := sorted(set(arm.seeds or ()) - set(config.seeds)):
            errors.append(ConfigError(
                f"seed {strange[0]} is none of the study's, so it would be paired with nothing",
                where=where(f"arms.{index}.seeds"), mend="An arm's seeds are some of `seeds`",
            ))  # fmt: skip
        errors += _check_grid(file, index, arm, names)
    for key, seeds in (("seeds", config.seeds), ("grid.seeds", config.grid.seeds if config.grid else None)):
        if len(set(seeds or ())) < len(seeds or ()) or any(seed < 0 for seed in seeds or ()):
            errors.append(ConfigError("seeds are whole numbers from 0, each said once", where=where(key)))
    if config.against and config.against not in names:
        errors.append(unknown("arm", config.against, names, where=where("against")))
    for key in config.grid.over if config.grid else ():
        if key.partition(".")[0] in (*OURS, *SHARED):
            errors.append(ConfigError(
                f"a grid cannot go over {key}", where=where(f"grid.over.{key}"),
                mend="It is the study's own, or the same for all arms, or they could not be compared",
            ))  # fmt: skip
    for index, name in enumerate(config.curves):
        if name not in names:
            errors.append(unknown("arm", name, names, where=where(f"curves.{index}")))
    if errors:
        raise several(errors)


def _check_grid(file: StudyFile, index: int, arm: Arm, names: list[str]) -> list[DtmError]:
    """An arm that takes another's tuning needs one that is tuned itself."""
    if not isinstance(arm.grid, str):
        return []
    place = file.document.where(f"arms.{index}.grid")
    if arm.grid not in names or arm.grid == arm.name:
        return [unknown("other arm", arm.grid, set(names) - {arm.name}, where=place)]
    if file.config.arms[names.index(arm.grid)].grid is not True:
        return [ConfigError(f"the arm {arm.grid!r} is not tuned itself", where=place)]
    return []
