"""Before any work: whether the merge's weights can be searched for as the run file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dtm.config import RunFile, Search
from dtm.foundations.errors import ConfigError, DtmError, several
from dtm.foundations.registry import unknown


def check_search(file: RunFile, dev: Sequence[Any], tasks: Sequence[Any]) -> None:
    """Raise all that is wrong with a search for weights, and with what choices are made on.

    `dev` and `tasks` are the resolved entries of `dev.tasks` and `evaluate.tasks`.
    """
    errors = _shared_items(file, dev, tasks)
    if isinstance(file.config.merge.weights, Search):
        errors += _wrong_search(file, file.config.merge.weights, dev)
    if errors:
        raise several(errors)


def _wrong_search(file: RunFile, search: Search, dev: Sequence[Any]) -> list[DtmError]:
    from dtm.pipeline.search import least_budget

    config = file.config
    errors: list[DtmError] = []
    k, names = config.disperse.k, [task.name for task in dev]
    if k == "auto":
        pass  # what `check_auto` tells
    elif k < 2:
        errors.append(ConfigError("there is one sub-model, so there are no weights to search for",
                                  where=file.where("merge.weights")))  # fmt: skip
    elif search.budget < least_budget(k):
        errors.append(ConfigError(
            f"{search.budget} candidates are too few for {k} sub-models", where=file.where("merge.weights.budget"),
            mend=f"Give at least {least_budget(k)}: uniform weights and each sub-model alone",
        ))  # fmt: skip
    errors += [unknown("task of dev.tasks", name, names, where=file.where("merge.weights.tasks"))
               for name in search.tasks if name not in names]  # fmt: skip
    if not dev and not search.tasks and config.dev.fraction == 0:
        errors.append(ConfigError("there is nothing to search on", where=file.where("merge.weights"),
                                  mend="Set dev.fraction above 0, or name dev.tasks"))  # fmt: skip
    return errors


def _shared_items(file: RunFile, dev: Sequence[Any], tasks: Sequence[Any]) -> list[DtmError]:
    """Items of a dev task that are test items too: what is chosen on them would be scored on them."""
    errors: list[DtmError] = []
    for task in dev:
        for other in tasks:
            if task.kind == "hub":
                shared, of = (1, 1) if other.name == task.name and other.kind == "hub" else (0, 0)
            else:
                tested = {replace(item, row=0) for item in other.items}
                shared, of = sum(replace(item, row=0) in tested for item in task.items), len(task.items)
            if shared:
                what = "the task" if task.kind == "hub" else f"{shared} of {of} items"
                errors.append(ConfigError(
                    f"{what} of dev task {task.name!r} would be test items too, in {other.name!r}",
                    where=file.where("dev.tasks"), mend="Choose on other items, such as another split",
                ))  # fmt: skip
    return errors
