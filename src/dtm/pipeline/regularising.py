"""What a regulariser needs of the model that a training starts from: its Fisher information, as a step of the store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dtm.data as data
from dtm.config import RunFile
from dtm.foundations.errors import ConfigError, DtmError
from dtm.foundations.registry import Bound
from dtm.foundations.seeds import derive32
from dtm.foundations.store import Artifact, Claim, Step
from dtm.foundations.types import Model
from dtm.pipeline import building
from dtm.pipeline.rows import Rows, rows_of
from dtm.pipeline.steps import Work
from dtm.sections import Fisher

if TYPE_CHECKING:
    from dtm.pipeline.training import Training
    from dtm.pipeline.verbs import Run

FISHER = "dtm.foundations.signals.fisher:fisher"
ENTRY = re.compile(r"data\[(\d+)\](.*)")
SEED = derive32(0, "fisher of the base")  # one for all runs: what the base knows depends on none of them


def check_regularise(file: RunFile, bound: Bound | None) -> list[DtmError]:
    """What stands beside `train.regularise` and cannot: data that is not there, weights that lie in shards."""
    section = file.config.train.regularise
    if bound is None or section is None:
        return []
    errors: list[DtmError] = []
    try:
        sources_of(file, section.fisher)
    except DtmError as error:
        for part in getattr(error, "parts", [error]):
            if found := ENTRY.match(part.where or ""):
                part.where = file.where(f"train.regularise.fisher.data.{found[1]}{found[2]}")
        errors.append(error)
    if file.config.launch.accelerate_config:
        errors.append(ConfigError(
            "a regularised training wants whole weights in each process, and accelerate's file may part them",
            where=file.where("launch.accelerate_config"), mend="Use launch.processes, which is DDP, or leave it out",
        ))  # fmt: skip
    return errors


def sources_of(file: RunFile, fisher: Fisher | None) -> list[Any]:
    """The data that the Fisher information is of, opened; none where it is that of the training."""
    return data.resolve(fisher.data, file.root) if fisher is not None and fisher.data else []


def with_statistic(run: Run, trainings: Sequence[Training]) -> list[Training]:
    """The trainings, each with what its regulariser needs; equal needs are one step."""
    bound = trainings[0].settings.regularise if trainings else None
    if bound is None or "fisher" not in bound.method.needs:
        return list(trainings)
    section = run.checked.config.train.regularise
    fisher = (section.fisher if section else None) or Fisher()
    rows = _other_rows(run, fisher)
    works = [_work(run, fisher, one.start, rows or one.rows) for one in trainings]
    distinct = {work.step.key: work for work in works}
    made = dict(zip(distinct, run.steps.make_all(list(distinct.values())), strict=True))
    pairs = zip(trainings, works, strict=True)
    return [replace(one, statistic=made[work.step.key]) for one, work in pairs]


def _work(run: Run, fisher: Fisher, start: Model, rows: Rows) -> Work:
    checked = run.checked
    options = {
        name: value for name, value in checked.config.model.items() if name not in ("dtype", "quantization")
    }
    settings = {"rows": fisher.rows, "labels": fisher.labels, "model": options}
    inputs = {"model": start.digest, "examples": rows.digest}
    step = Step("base_fisher", settings, inputs, SEED, checked.numerics)

    def arguments(claim: Claim) -> dict[str, Any]:
        return {"model": str(start.folder), "adapter": None, "examples": str(rows.file), "rows": fisher.rows,
                "labels": fisher.labels, "seed": SEED, "options": options, "output": str(claim.output),
                "device": checked.device, "threads": checked.threads}  # fmt: skip

    used = min(fisher.rows, rows.count)
    return Work(f"fisher of {start.name}", f"{used} rows", step, FISHER, arguments, {"rows": used})


def _other_rows(run: Run, fisher: Fisher) -> Rows | None:
    """The rows of `fisher.data`, read and rendered as those of the run are; None where there are none of its own."""
    sources = sources_of(run.checked.file, fisher)
    if not sources:
        return None
    base, digests = run.base(), run.steps.store.digests
    prints = [source.fingerprint(digests) for source in sources]
    loaded = run.steps.make(
        "fisher data", "reading it", Step("load", {"entries": prints}, seed=SEED, version=2),
        lambda claim: building.load(sources, SEED, claim, run.progress("fisher data")),
    )  # fmt: skip
    limit = run.checked.train.args["max_length"]
    settings = {"max_length": limit, "too_long": "truncate", "dev": 0.0}
    inputs = {"examples": loaded.manifest["files"]["examples.arrow"],
              "tokenizer": building.tokenizer_digest(base.folder, digests)}  # fmt: skip
    rendered: Artifact = run.steps.make(
        "render fisher data", "to tokens", Step("render", settings, inputs, SEED),
        lambda claim: building.render(loaded.folder, base.folder, settings, SEED, claim,
                                      run.progress("render fisher data")),
    )  # fmt: skip
    return rows_of("fisher data", rendered, "train.arrow", rendered.facts["train"])
