"""Before any work: the `curate` section's method, how much it keeps, and what it measures rows with."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import dtm.curate  # noqa: F401 - registers the methods
from dtm.config import RunFile
from dtm.foundations.errors import ConfigError, DtmError
from dtm.foundations.models import locate
from dtm.foundations.registry import Bound, registry, unknown
from dtm.foundations.signals import check_embedder, with_model
from dtm.pipeline.check_recipe import check_scorer
from dtm.sections import Curate

MEASURED = ("loss", "alone")  # by a model: the base, or the section's own


def bind(section: Curate, where: Callable[[str], Any]) -> Bound:
    """The method with its settings; `on`, which the section has, is the method's too if it knows it."""
    methods, own = registry("curate"), dict(section.own)
    if section.method in methods:
        known = methods[section.method]
        own = {name: value for name, value in own.items() if name not in known.properties.get("scorers", {})}
        own |= {"on": section.on} if "on" in known.settings else {}
    return methods.bind(section.method, own, where=lambda name: where(f"curate.{name or 'method'}"))


def check_curate(file: RunFile, sources: Collection[str]) -> list[DtmError]:
    """All that is wrong with the section; `sources` are the data's, empty where it could not be opened."""
    section, where = file.config.curate, file.where
    if section is None:
        return []
    try:
        bound = bind(section, where)
    except DtmError as error:
        return [error]
    errors = [*_count(section, bound, where), *_model(file, section, bound), *_scorers(file, section, bound)]
    for number, name in enumerate(section.sources):
        if sources and name not in sources:
            errors.append(
                unknown("source of the data", name, sources, where=where(f"curate.sources.{number}"))
            )
    if "embedding" in bound.method.needs:
        try:
            embedder = check_embedder(section.embedder, where=where("curate.embedder"))
            with_model(embedder, file.root, where=where("curate.embedder.model"))
        except DtmError as error:
            errors.append(error)
    if file.config.disperse.keep:
        errors.append(ConfigError(
            "rows of a run that is kept would be chosen anew", where=where("curate"),
            mend="Curate the new data in a run of its own, and grow by what that kept; or leave disperse.keep out",
        ))  # fmt: skip
    return errors


def _count(section: Curate, bound: Bound, where: Callable[[str], Any]) -> list[DtmError]:
    """One of `fraction` and `rows`, where the method takes any."""
    given = [name for name in ("fraction", "rows") if getattr(section, name) is not None]
    takes, name = bound.method.properties.get("count", "needed"), bound.method.name
    if len(given) == 2:
        return [
            ConfigError(
                "`fraction` and `rows` both say how many", where=where("curate.rows"), mend="Leave one out"
            )
        ]
    if given and takes == "none":
        return [
            ConfigError(
                f"{name!r} keeps as many as there are", where=where(f"curate.{given[0]}"), mend="Leave it out"
            )
        ]
    if not given and takes == "needed":
        return [
            ConfigError(
                "nothing says how many rows to keep", where=where("curate"), mend="Set fraction or rows"
            )
        ]
    check = bound.method.properties.get("check", lambda settings, counted: ())
    return [
        ConfigError(fault.what, where=where(f"curate.{fault.key}".rstrip(".")), mend=fault.mend)
        for fault in check(bound.settings, bool(given))
    ]


def _model(file: RunFile, section: Curate, bound: Bound) -> list[DtmError]:
    """A model of its own is there, and of use."""
    where, name = file.where, bound.method.name
    if section.model is None:
        needed = bound.method.properties.get("model") == "needed"
        return [ConfigError(f"{name!r} needs `model`, a smaller one than the base", where=where("curate"),
                            mend="Name it; with the base itself it is the method ifd")] if needed else []  # fmt: skip
    if not set(MEASURED) & set(bound.method.needs):
        return [
            ConfigError(
                f"{name!r} measures rows with no model", where=where("curate.model"), mend="Leave it out"
            )
        ]
    try:
        locate(section.model, file.root, where=where("curate.model"))
    except DtmError as error:
        return [error]
    return []


def _scorers(file: RunFile, section: Curate, bound: Bound) -> list[DtmError]:
    """The scorers that the method takes, each by its key."""
    errors: list[DtmError] = []
    for key, default in bound.method.properties.get("scorers", {}).items():
        said = section.own.get(key, default)
        if not isinstance(said, str | dict):
            errors.append(ConfigError(f"{said!r} names no scorer", where=file.where(f"curate.{key}")))
            continue
        errors += check_scorer(
            file, said, lambda name, key=key: file.where(f"curate.{key}.{name}" if name else f"curate.{key}")
        )
    return errors
