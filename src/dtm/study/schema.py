"""What `study.json` holds. Readers must accept fields that they do not know; we write no others than these.

The part of docs/study.md that lists the fields is `documentation()`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dtm.foundations.errors import DataError, DtmError, several
from dtm.foundations.files import canonical

FORMAT = 1
Interval = tuple[float, float]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Place(Part):
    group: str = Field(description="a benchmark's name, or `mean`, `gains`, `costs`: means over benchmarks")
    task: str | None = Field(description="the task; null for a mean")
    format: str | None = Field(description="how items were put to the model: `raw`, `chat`; null for a mean")


class Benchmark(Place):
    metric: str = Field(description="the primary metric")
    items: int = Field(description="items")
    chance: float | None = Field(description="expected score of guessing")
    in_mean: bool = Field(description="whether it is a share of items, and so part of the means")


class Score(Place):
    value: float = Field(
        description="mean over seeds and items; for a mean, over benchmarks with equal weight"
    )
    low: float = Field(description="lower end of the 95 % interval over seeds and items")
    high: float = Field(description="upper end")
    by_seed: dict[str, float] = Field(
        description="the score under each seed; empty for the base, which has none"
    )


class Failure(Part):
    seed: int
    error: str = Field(description="what was said")
    diverged: bool = Field(
        default=False, description="whether the loss was not finite: no fault of the study's"
    )


class GridPoint(Part):
    values: dict[str, Any] = Field(description="run-file keys with the values tried")
    score: float | None = Field(description="mean dev score over the grid's seeds; null where a run failed")
    by_seed: dict[str, float | None] = Field(description="dev score under each seed")
    failures: list[Failure] = Field(description="runs that failed")


class ArmGrid(Part):
    tuned_as: str = Field(description="the arm whose runs decided")
    on: str = Field(description="what the dev score is; more is better")
    points: list[GridPoint] = Field(description="all points, in the grid's order")
    chosen: int | None = Field(description="place of the chosen point in `points`; null where all failed")
    at_the_edge: list[str] = Field(description="keys whose chosen value is the least or greatest tried")


class Arm(Part):
    name: str = Field(description="name of the arm")
    recipe: str = Field(description="its recipe")
    overrides: dict[str, Any] = Field(description="run-file keys in which it differs from what arms share")
    claim: bool = Field(description="whether it ran under every seed, so that something may be said of it")
    screening: bool = Field(description="the contrary: screened, no claim")
    seeds: list[int] = Field(description="seeds that were finished")
    failures: list[Failure] = Field(description="runs that failed")
    left_out: list[int] = Field(description="seeds that `--only` left out")
    grid: ArmGrid | None = Field(description="how it was tuned; null where it was not")
    point: dict[str, Any] = Field(description="run-file keys that tuning set")
    scores: list[Score] = Field(description="one row a benchmark, then the means")
    tokens: float | None = Field(
        description="trained tokens spent to make one model, its parts included: mean over seeds"
    )
    steps: float | None = Field(description="optimiser steps, likewise")
    inference: float | None = Field(
        description="models that answer together, and so cost as many times one; null: one"
    )
    choices: list[dict[str, Any]] = Field(
        description="what the recipe chose on dev, by seed: see docs/results_json.md"
    )
    digests: dict[str, str] = Field(description="sha256 of the model's content under each seed")


class Base(Part):
    scores: list[Score] = Field(description="one row a benchmark, then the means")


class Reference(Part):
    name: Literal["peak", "oracle"] = Field(
        description="`peak`: chosen on dev; `oracle`: on the test items themselves"
    )
    oracle: bool = Field(description="whether it was chosen on the items that it is scored on")
    shares: dict[str, float] = Field(description="the share of the training that was best, under each seed")
    scores: list[Score] = Field(description="one row a benchmark, then the means")


class CurvePoint(Part):
    share: float = Field(description="share of the training's steps; 0 is the base")
    scores: dict[str, float] = Field(description="by `group`")
    dev: float | None = Field(description="dev score; more is better")
    training_loss: float | None = Field(
        description="mean over the tenth of the training before, nats a token"
    )
    heldout_loss: float | None = Field(description="on rows kept from training, nats a token")
    drop_ratio: float | None = Field(
        description="drop in training loss over drop in held-out loss, both from the base's; null where none fell"
    )


class CurveRun(Part):
    seed: int
    points: list[CurvePoint] = Field(description="in order")


class Curve(Part):
    arm: str = Field(description="whose training")
    runs: list[CurveRun] = Field(description="one a seed")


class Comparison(Place):
    arm: str = Field(description="the arm")
    against: str = Field(description="an arm, `base`, `peak` or `oracle`")
    oracle: bool = Field(
        description="whether the reference was chosen on the test items: then nothing is tested"
    )
    seeds: list[int] = Field(description="seeds of the pairs")
    items: int = Field(description="items a seed")
    difference: float = Field(description="score of the arm minus that of the reference")
    low: float = Field(description="lower end of the 95 % interval over seeds and items, crossed")
    high: float = Field(description="upper end")
    bootstrap: Interval = Field(description="the same from the pigeonhole bootstrap")
    over_seeds: Interval | None = Field(
        description="Student's t over seeds, items taken as they are; null: one seed"
    )
    by_seed: dict[str, float] = Field(description="the difference under each seed")
    only_arm: int | None = Field(
        description="answers that the arm alone got right, over all seeds; null: no 0/1 items"
    )
    only_against: int | None = Field(description="answers that the reference alone got right")
    p_mcnemar: float | None = Field(description="two-sided p of the exact test over items, for these models")
    p: float = Field(description="two-sided p over seeds and items; never below `p_mcnemar`")
    p_holm: float | None = Field(
        description="after Holm's correction over all arms with a claim against that reference, "
        "the means and the single benchmarks apart; null without a claim"
    )
    detectable: float | None = Field(
        description="difference that would be found with 80 % power after correction"
    )
    verdict: Literal["better", "worse", "open", "screened", "oracle"] = Field(
        description="`better`, `worse`: shown; `open`: nothing shown; `screened`, `oracle`: no claim"
    )


class Tax(Part):
    arm: str = Field(description="the arm")
    against: str = Field(description="`base`, `peak` or `oracle`: the two meanings, and the flattering one")
    oracle: bool
    group: str = Field(description="`costs`, or `mean` where no costs are named")
    tax: float = Field(description="what was lost; negative: won")
    low: float = Field(description="lower end of the 95 % interval")
    high: float = Field(description="upper end")
    p_holm: float | None
    verdict: str = Field(description="of the comparison: `worse` shows a tax")


class Flip(Part):
    item: str = Field(description="the item's id")
    seeds: int = Field(description="under how many seeds it flipped")
    asked: str | None = Field(default=None, description="the end of the question")
    wanted: str | None = Field(default=None, description="the right answer")
    base: str | None = Field(default=None, description="what the base answered")
    arm: str | None = Field(default=None, description="what the arm answered under the first seed of those")


class Flips(Part):
    arm: str = Field(description="the arm")
    task: str = Field(description="the task")
    format: str = Field(description="prompt format")
    items: int = Field(description="items")
    seeds: int = Field(description="seeds")
    base_right: int = Field(description="items that the base had right")
    lost: float = Field(description="of these, those that the arm has wrong: mean over seeds")
    won: float = Field(description="items that the base had wrong and the arm has right: mean over seeds")
    lost_items: list[Flip] = Field(description="lost under the most seeds")
    won_items: list[Flip] = Field(description="won under the most seeds")


class SplitOf(Part):
    name: str = Field(description="the first of its arms")
    arms: list[str] = Field(
        description="arms whose rows are parted the same, under every seed that they share"
    )
    portions: int = Field(description="portions, under the first seed")


class SplitPair(Part):
    a: str = Field(description="name of a split")
    b: str = Field(description="name of another")
    seeds: list[int] = Field(description="seeds under which both were made")
    rows: int = Field(description="rows that they have in common, under the first of these")
    adjusted_rand: float = Field(
        description="adjusted Rand index, mean over seeds: 1 the same, 0 what chance gives"
    )
    mutual_information: float = Field(description="normalised mutual information, mean over seeds")


class Splits(Part):
    splits: list[SplitOf] = Field(description="one row a split")
    pairs: list[SplitPair] = Field(description="one row for each two of them")


class Heldout(Part):
    arm: str = Field(description="name of the arm")
    source: str = Field(description="source of the rows, or `all`")
    loss: float = Field(description="nats a response token, mean over seeds")
    base: float = Field(description="the base's loss on the same rows")
    by_seed: dict[str, float] = Field(description="the loss under each seed, whose rows are its own")


class Timing(Part):
    seconds: dict[str, float] = Field(
        description="seconds of an arm's steps when they were done, shared ones included"
    )


class StudyResults(Part):
    """All but `timing` and `command` is the same for the same files, seeds, threads, device kind and versions."""

    format: Literal[1] = Field(description="version of this structure")
    study: str = Field(description="name of the study")
    command: str = Field(description="command line that wrote this")
    statement: list[str] = Field(description="what is shown and what is not, in plain sentences")
    seeds: list[int] = Field(description="seeds that every arm with a claim ran under")
    against: str = Field(description="the arm that the others are compared with")
    gains: list[str] = Field(description="tasks that tuning teaches, as the file names them")
    costs: list[str] = Field(description="tasks that tuning may harm")
    grid: dict[str, Any] | None = Field(description="the grid as the file states it")
    benchmarks: list[Benchmark] = Field(description="what was evaluated")
    base: Base = Field(description="the base model")
    arms: list[Arm] = Field(description="one row an arm, in the file's order")
    references: list[Reference] = Field(description="the best point of the curve, chosen on dev and on test")
    curve: Curve | None = Field(
        description="score and loss along the training of `against`; null without checkpoints"
    )
    curves: list[Curve] = Field(
        default=[], description="the same of the other arms that the file's `curves` names"
    )
    comparisons: list[Comparison] = Field(description="one row an arm, reference and group")
    tax: list[Tax] = Field(description="what arms lost on the costs, against the base and against the peak")
    flips: list[Flips] = Field(description="which items flipped between base and arm")
    heldout: list[Heldout] = Field(
        default=[], description="one row an arm and source: loss on rows kept from training"
    )
    splits: Splits | None = Field(
        default=None, description="how far the arms' splits agree; null where fewer than two differ"
    )
    versions: dict[str, str] = Field(
        description="version of each package whose arithmetic shows in the results"
    )
    commit: str | None = Field(
        description="commit of the git checkout of the study file, `+` where files differ"
    )
    timing: Timing = Field(description="not deterministic")


def validated(results: Mapping[str, Any]) -> dict[str, Any]:
    """The results with every field, keys in order as in the file; raises DataError where they are no study's."""
    try:
        return json.loads(canonical(StudyResults.model_validate(results).model_dump(mode="json")))
    except ValidationError as error:
        errors: list[DtmError] = [
            DataError(one["msg"], where=".".join(str(part) for part in one["loc"]) or None)
            for one in error.errors()[:20]
        ]
        mend = "Was it written by another version of dtm? Make it again with `dtm study`"
        raise DataError(several(errors).message, where="study.json", mend=mend) from None


def documentation() -> str:
    """The fields as Markdown: a heading for each object, a table row for each field."""
    return "\n".join(_tables(StudyResults, "")) + "\n"


def _tables(model: type[BaseModel], path: str) -> Iterator[str]:
    yield from (
        "",
        f"### `{path}`" if path else "### Top level",
        "",
        "| field | type | what it is |",
        "|---|---|---|",
    )
    inner = []
    for name, field in model.model_fields.items():
        kind, part = _kind(field.annotation)
        if part is not None:
            inner.append((part, f"{path}.{name}".lstrip(".") + ("[]" if kind.startswith("list") else "")))
        yield f"| `{name}` | {kind} | {field.description or ''} |"
    for part, place in inner:
        yield from _tables(part, place)


def _kind(annotation: Any) -> tuple[str, type[BaseModel] | None]:
    """An annotation in words, and the object inside it if it holds one of ours."""
    origin, arguments = get_origin(annotation), [one for one in get_args(annotation) if one is not type(None)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object", annotation
    if origin is list:
        kind, part = _kind(arguments[0])
        return f"list of {kind}s", part
    if origin is dict:
        return "object", None
    if origin is tuple:
        return "[low, high]", None
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments), None
    if arguments:
        kind, part = _kind(arguments[0])
        return f"{kind} or null", part
    return {int: "whole number", float: "number", str: "text", bool: "true or false"}.get(
        annotation, "any"
    ), None
