"""Steps that failed while others went on: what is said in the end, and sub-models that a run may do without.

`on_failure` stands at the top of the run file and not under `launch`, since it decides what is merged: of `launch`
nothing does. A dropped sub-model is in no key. The merge of the rest is keyed by the rest, as any merge is by what goes
into it, and the next run tries the sub-model again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dtm.config import Merge
from dtm.foundations.errors import ConfigError, DtmError, TrainingError, WorkerError
from dtm.foundations.launch.memory import OutOfMemory
from dtm.report.wording import listing

if TYPE_CHECKING:
    from dtm.foundations.types import Model
    from dtm.pipeline.rows import Rows
    from dtm.pipeline.training import Training
    from dtm.pipeline.verbs import Run

OWN = (
    WorkerError,
    TrainingError,
    OutOfMemory,
)  # faults of one sub-model: not a full disk, not a mistake in the file
DROP = "or merge the others without: add `-s on_failure=drop`"


@dataclass(frozen=True)
class Failure:
    """A step that failed for good, and the error that ended it."""

    label: str
    error: Exception


def is_dropped(run: Run, rows: Rows, name: str = "") -> bool:
    """Whether the sub-model of those rows, or the training of that name on them, was dropped in this run."""
    return (name or name_of(rows), rows.digest) in run.dropped


def told(failures: Sequence[Failure], steps: int, command: str, *, hint: str = "") -> Exception:
    """One error for all: which failed, that the others are kept, and how to go on. A lone step's stays as it is."""
    first = failures[0].error
    if steps == 1 or not isinstance(first, DtmError):
        return first
    names = listing([one.label for one in failures])
    kept = steps - len(failures)
    others = f"; the {'other is' if kept == 1 else f'other {kept} are'} kept" if kept else ""
    mends = " ".join(dict.fromkeys(_sentence(one.error.mend) for one in failures
                                   if isinstance(one.error, DtmError) and one.error.mend))  # fmt: skip
    how = f"Go on with `{command}`" if command else "Run the same again to go on"
    what = f"{names} failed{others}: " + "; ".join(_what(one.error) for one in failures)
    mend = f"{mends} {how}{f', {hint}' if hint else ''}".strip()
    return type(first)(what, where=first.where, mend=mend, last=_last(failures))


def drop(run: Run, failures: Sequence[Failure], trainings: Sequence[Training]) -> None:
    """Note sub-models as dropped if the run file says so and it can be; else raise what ended them."""
    asked, trained, rows = (
        len(trainings),
        len(trainings) - len(failures),
        {one.name: one.rows for one in trainings},
    )
    droppable = asked >= 2 and all(isinstance(one.error, OWN) for one in failures)
    if run.checked.config.on_failure == "stop" or not droppable:
        raise told(failures, asked, run.steps.command, hint=DROP if droppable and trained >= 2 else "")
    if trained < 2:
        error = told(failures, asked, run.steps.command)
        where = run.checked.file.where("on_failure")
        raise WorkerError(f"without {listing([one.label for one in failures])} fewer than two sub-models are left, and "
                          f"nothing to merge. {error}", where=where)  # fmt: skip
    for one in failures:
        run.dropped[one.label, rows[one.label].digest] = _what(one.error)
        run.steps.display.note(f"  {one.label} is dropped: {_what(one.error).splitlines()[0]}")


def kept_rows(run: Run, portions: Sequence[Rows]) -> list[Rows]:
    """The portions whose sub-models were not dropped."""
    return [rows for rows in portions if not is_dropped(run, rows)]


def kept_section(run: Run, section: Merge, portions: Sequence[Rows]) -> Merge:
    """The section with the listed weights of those that are left, scaled to the sum of all."""
    if not isinstance(section.weights, list) or len(section.weights) != len(portions):
        return section
    left = [
        weight for weight, rows in zip(section.weights, portions, strict=True) if not is_dropped(run, rows)
    ]
    if len(left) == len(section.weights):
        return section
    if not sum(left):
        raise ConfigError(
            "the weights of the sub-models that are left add up to 0", where=run.checked.file.where("merge.weights"),
            mend="Run again without on_failure: drop",
        )  # fmt: skip
    scale = sum(section.weights) / sum(left)
    return section.model_copy(update={"weights": [scale * weight for weight in left]})


def name_of(rows: Rows) -> str:
    return f"submodel-{rows.part}"


def part_of(model: Model) -> str:
    """The number of the portion that a sub-model was trained on."""
    return model.name.removeprefix("submodel-")


def dropped(run: Run) -> list[dict[str, Any]]:
    """What results.json tells of sub-models that the merge lacks."""
    return [
        {"submodel": name_of(rows), "portion": int(rows.part), "rows": rows.count, "digest": rows.digest,
         "trained_tokens": rows.trained_tokens, "reason": run.dropped[name_of(rows), rows.digest]}
        for rows in run.portions if is_dropped(run, rows)
    ]  # fmt: skip


def _last(failures: Sequence[Failure]) -> list[str]:
    """The last lines that each printed, named where they are of several."""
    found: list[str] = []
    for one in failures:
        lines = one.error.last if isinstance(one.error, DtmError) else ()
        found += [f"{one.label}: {line}" for line in lines] if len(failures) > 1 else lines
    return found


def _what(error: Exception) -> str:
    return error.what if isinstance(error, DtmError) else str(error)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "\n")) else f"{text}."
