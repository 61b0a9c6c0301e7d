"""Before any work: the recipe and its baselines, each bound with its settings, and what these ask of the rest."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dtm.config import Recipe, RunFile
from dtm.disperse.proposing import LEAST
from dtm.foundations.errors import ConfigError, DtmError, several
from dtm.foundations.registry import Bound, registry, unknown
from dtm.foundations.scorers import bind_scorer
from dtm.train import check_settings


def check_recipes(file: RunFile) -> tuple[Bound, list[Bound]]:
    """The recipe and the baselines of a run file; raises all that is wrong with any of them."""
    config, errors, bound = file.config, list[DtmError](), list[Bound]()
    for key, recipe in [("recipe", config.recipe), *_baselines(file)]:
        try:
            bound.append(_bind(file, key, recipe))
        except DtmError as error:
            errors.append(error)
    errors += _twice(file)
    if errors:
        raise several(errors)
    return bound[0], bound[1:]


def _baselines(file: RunFile) -> list[tuple[str, Recipe]]:
    return [(f"baselines.{number}", one) for number, one in enumerate(file.config.baselines)]


def _bind(file: RunFile, key: str, recipe: Recipe) -> Bound:
    def where(name: str) -> str:
        return file.where(f"{key}.{name or 'name'}")

    bound = registry("recipe").bind(recipe.method, recipe.own, where=where)
    errors = [*_own(bound, where), *_scorer(file, bound, where), *_dev(file, bound, where),
              *_overrides(file, bound, where), *_portion(file, bound, where), *_backend(file, bound),
              *_warmup(file, bound, where), *_wants(bound, where), *_asks(file, bound, where)]  # fmt: skip
    if errors:
        raise several(errors)
    return bound


def check_sources(
    file: RunFile, bound: tuple[Bound, list[Bound]] | None, sources: Collection[str]
) -> list[DtmError]:
    """Settings that name sources, which the property `sources` tells, name some that the data has.

    `sources` are those names, empty where the data could not be opened.
    """
    errors: list[DtmError] = []
    named = (
        [("recipe", bound[0]), *((f"baselines.{one}", each) for one, each in enumerate(bound[1]))]
        if bound
        else []
    )
    for key, one in named if sources else ():
        for setting in one.method.properties.get("sources", ()):
            for source in one.settings[setting]:
                if source not in sources:
                    errors.append(
                        unknown("source of the data", source, sources, where=file.where(f"{key}.{setting}"))
                    )
    return errors


def _own(bound: Bound, where: Any) -> list[DtmError]:
    """What the recipe itself, by its property `check`, says of settings that cannot be together."""
    check = bound.method.properties.get("check", lambda settings: ())
    return [
        ConfigError(fault.what, where=where(fault.key), mend=fault.mend) for fault in check(bound.settings)
    ]


def _scorer(file: RunFile, bound: Bound, where: Any) -> list[DtmError]:
    """The setting that names a scorer, which the property `scorer` tells; one that asks an LLM needs one."""
    setting = bound.method.properties.get("scorer")
    if setting is None:
        return []
    return check_scorer(
        file, bound.settings[setting], lambda key: where(f"{setting}.{key}" if key else setting)
    )


def check_scorer(file: RunFile, said: Any, where: Any) -> list[DtmError]:
    """A scorer that is there, and one that asks a language model has one; `where("")` is where it is named."""
    try:
        scorer = bind_scorer(said, where=where)
    except DtmError as error:
        return [error]
    if {"judge", "rating"} & set(scorer.method.needs) and file.config.llm is None:
        name = scorer.method.name
        return [ConfigError(f"the scorer `{name}` asks a language model, and there is none", where=where(""),
                            mend="Add `llm:` (docs/llm.md), or choose another scorer")]  # fmt: skip
    return []


def _dev(file: RunFile, bound: Bound, where: Any) -> list[DtmError]:
    """A recipe that chooses needs something to choose on; `chooses` may name the setting that says `dev`."""
    chooses, config = bound.method.properties.get("chooses", False), file.config
    if isinstance(chooses, str):
        chooses = bound.settings[chooses] == "dev"
    if chooses and not config.dev.tasks and config.dev.fraction == 0:
        return [ConfigError("there is nothing to choose on", where=where(""),
                            mend="Set dev.fraction above 0, or name dev.tasks")]  # fmt: skip
    return []


def _overrides(file: RunFile, bound: Bound, where: Any) -> list[DtmError]:
    """What a soup's `overrides` say is said of `train.args`, and is checked as that is."""
    train, errors = file.config.train, list[DtmError]()
    for number, override in enumerate(bound.settings.get("overrides", [])):
        place = f"overrides.{number}"
        if not isinstance(override, dict):
            errors.append(ConfigError(f"{override!r} is no mapping of train.args", where=where(place)))
            continue
        _, wrong = check_settings(
            override, train.lora, train.same_adapter_init,
            lambda key, place=place: where(f"{place}.{key.removeprefix('train.args.')}"),
        )  # fmt: skip
        errors += wrong
    return errors


def _portion(file: RunFile, bound: Bound, where: Any) -> list[DtmError]:
    """A setting that names a portion, which the property `portion` tells, names one that there will be."""
    setting, k = bound.method.properties.get("portion"), file.config.disperse.k
    value = bound.settings[setting] if setting else None
    if isinstance(value, int) and k == "auto" and value >= LEAST:
        return [ConfigError(f"with `k: auto` it is not known yet whether there is a portion {value}",
                            where=where(setting), mend="Set disperse.k to a number")]  # fmt: skip
    if isinstance(value, int) and k != "auto" and value >= k:
        return [ConfigError(f"there is no portion {value}: disperse.k is {k}, and they count from 0",
                            where=where(setting))]  # fmt: skip
    return []


def _warmup(file: RunFile, bound: Bound, where: Any) -> list[DtmError]:
    """An adapter of a warmed start would be one of a model that nobody has."""
    if bound.settings.get("warmup") and file.config.merge.export == "adapter":
        return [ConfigError("after a warm-up an adapter would sit on the warmed model, which is not published",
                            where=where("warmup"), mend="Set merge.export: model, or leave warmup out")]  # fmt: skip
    return []


def _backend(file: RunFile, bound: Bound) -> list[DtmError]:
    """What has the property `ensemble` is evaluated by us, since no other engine knows such a model."""
    if bound.method.properties.get("ensemble") and file.config.evaluate.backend is not None:
        return [ConfigError("no backend can evaluate an ensemble", where=file.where("evaluate.backend"),
                            mend="Leave it out")]  # fmt: skip
    return []


def _wants(bound: Bound, where: Any) -> list[DtmError]:
    """Values of a setting that say nothing without another setting, which the property `wants` names."""
    return [
        ConfigError(f"`{setting}: {value}` needs `{other}` above 0", where=where(setting))
        for setting, of in bound.method.properties.get("wants", {}).items() for value, other in of.items()
        if bound.settings[setting] == value and not bound.settings[other]
    ]  # fmt: skip


def _asks(file: RunFile, bound: Bound, where: Any) -> list[DtmError]:
    """A setting with the value that the property `asks` names needs a language model."""
    return [
        ConfigError("this asks a language model, and there is none", where=where(setting),
                    mend="Add `llm: {model: ..., base_url: ...}`")
        for setting, value in bound.method.properties.get("asks", {}).items()
        if bound.settings[setting] == value and file.config.llm is None
    ]  # fmt: skip


def _twice(file: RunFile) -> list[DtmError]:
    """A model's name is its recipe's, so a recipe stands in a run once."""
    names = [file.config.recipe.method, *(one.method for one in file.config.baselines)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        return [ConfigError(f"{twice[0]!r} would be run twice", where=file.where("baselines"),
                            mend="Name each recipe once, and none that is `recipe` already")]  # fmt: skip
    return []
