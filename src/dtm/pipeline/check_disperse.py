"""Before any work: what a dispersing method asks of k, of the embedder and of the clusters, and what portions share."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any

from dtm.config import Disperse, RunFile
from dtm.disperse import needed
from dtm.disperse.gradient import check_number, powers_near
from dtm.foundations.errors import ConfigError, DataError, DtmError
from dtm.foundations.registry import Bound, registry, unknown
from dtm.foundations.signals import check_embedder, with_model
from dtm.pipeline.kept import Kept


def bind(section: Disperse, where: Any) -> Bound:
    """The method with its settings; one that our section has as well, such as `on`, is the method's if it knows it."""
    methods, own = registry("disperse"), dict(section.own)
    known = methods[section.method].settings if section.method in methods else {}
    own |= {name: getattr(section, name) for name in section.model_fields_set & known.keys() & {"on"}}
    ours = [name for name in Disperse.model_fields if name != "method"]
    for name in sorted(own.keys() - known.keys()) if known else ():
        if near := difflib.get_close_matches(name, [*ours, *known], n=1, cutoff=0.75):
            raise ConfigError("there is no such key", where=where(name) if callable(where) else where,
                              mend=f"Did you mean `{near[0]}`?")  # fmt: skip
    return methods.bind(section.method, own, where=where)


def check_disperse(
    file: RunFile, bound: Bound | None, sources: Collection[str], kept: Kept | None
) -> list[DtmError]:
    """All that is wrong with a bound method's surroundings; nothing where the method itself could not be bound.

    `sources` are the names of the data's, empty where it could not be opened.
    """
    if bound is None:
        return []
    section, where, errors = file.config.disperse, file.where, list[DtmError]()
    needs = needed(bound)
    if "embedding" in needs or "cluster_gradient" in needs:
        try:
            embedder = check_embedder(section.embedder, where=where("disperse.embedder"))
            with_model(embedder, file.root, where=where("disperse.embedder.model"))
        except DtmError as error:
            errors.append(error)
    errors += _sharing(file, bound, sources, kept)
    if section.k == "auto":
        return errors
    k = section.k
    halving = bound.method.properties.get("portions") == "a power of 2" and not section.keep  # kept ones stay
    if halving and k & (k - 1):
        errors.append(ConfigError(
            f"{bound.method.name!r} halves along axes, and {k} is no power of 2", where=where("disperse.k"),
            mend=powers_near(k),
        ))  # fmt: skip
    if "cluster_gradient" in needs and section.gradients.clusters < k:
        errors.append(ConfigError(
            f"{section.gradients.clusters} clusters cannot fill {k} portions",
            where=where("disperse.gradients.clusters"), mend=f"Set it to {8 * k} or so",
        ))  # fmt: skip
    return errors


def _sharing(file: RunFile, bound: Bound, sources: Collection[str], kept: Kept | None) -> list[DtmError]:
    """What is wrong with `overlap` and `replay`."""
    section, where, errors = file.config.disperse, file.where, list[DtmError]()
    if section.overlap and section.k == 1 and kept is None:
        errors.append(ConfigError("there is no other portion whose rows one portion could have as well",
                                  where=where("disperse.overlap"), mend="Leave it out, or raise k"))  # fmt: skip
    replay = section.replay
    if replay is None:
        return errors
    if replay.fraction is not None and replay.rows is not None:
        errors.append(ConfigError("it says both `fraction` and `rows`", where=where("disperse.replay"),
                                  mend="Leave one of them out"))  # fmt: skip
    if replay.fraction is None and replay.rows is None and not replay.sources:
        errors.append(ConfigError("it does not say which rows", where=where("disperse.replay"),
                                  mend="Name `sources`, or give `fraction` or `rows`"))  # fmt: skip
    errors += [
        unknown("source", name, sources, where=where(f"disperse.replay.sources.{number}"))
        for number, name in enumerate(replay.sources) if sources and name not in sources
    ]  # fmt: skip
    if kept is not None and not kept.replays:
        errors.append(ConfigError("the kept portions replay no rows, and these stay as they are",
                                  where=where("disperse.replay"), mend="Leave it out"))  # fmt: skip
    if sources and kept is None and section.k != "auto" and (error := _sources_left(section, bound, sources)):
        error.where = where("disperse.replay.sources")
        errors.append(error)
    return errors


def _sources_left(section: Disperse, bound: Bound, sources: Collection[str]) -> DtmError | None:
    """The error where whole sources are parted, and replay leaves fewer of them than portions."""
    replay = section.replay
    given = bound.method.properties.get("unit") == "source" or "source_gradient" in needed(bound)
    if replay is None or not given or replay.fraction is not None or replay.rows is not None:
        return None
    try:
        check_number(len(set(sources) - set(replay.sources)), int(section.k), "given")
    except DataError as error:
        return error
    return None
