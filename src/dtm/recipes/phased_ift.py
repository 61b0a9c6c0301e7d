"""Phased instruction fine-tuning: from the easy rows to the hard, one training after another.

Pang et al., "Phased Instruction Fine-Tuning for Large Language Models", Findings of ACL 2024, arXiv:2406.04371. Alpaca,
graded 1-5 by an LLM in fractions; cuts at 1.5 and 3.5, which leave 30.3k, 14.7k and 6.8k rows; stages 1-2-3 with the
same settings, optimizer and schedule new in each; full fine-tuning at 5e-6, 2 epochs a stage, weight decay 0.1. Its win
rates are of one seed and were not reproduced here; another study (arXiv:2510.19099) finds that no curriculum dominates.

Controls: `vanilla_sft` (one-off), `at_random` (three stages of random rows), `order: [3, 2, 1]`, `order: [3]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

from dtm.foundations.registry import registry
from dtm.foundations.settings import Each, Within
from dtm.recipes.checking import Fault, increasing

THIRDS = [1 / 3, 2 / 3]


def check(settings: Mapping[str, Any]) -> Iterator[Fault]:
    """What cannot be in these settings together."""
    cuts, quantiles, order = (settings[name] for name in ("cuts", "quantiles", "order"))
    if cuts is not None and quantiles is not None:
        yield Fault("quantiles", "stages are cut at `cuts` or at `quantiles`", "Leave one of them out")
    yield from increasing("cuts", cuts)
    yield from increasing("quantiles", quantiles)
    count = len(cuts or quantiles or THIRDS) + 1
    order = order or list(range(1, count + 1))
    if wrong := [stage for stage in order if stage > count]:
        yield Fault("order", f"there is no stage {wrong[0]}: there are {count}, which count from 1")
    if len(set(order)) < len(order):
        yield Fault("order", f"{order} names a stage twice")
    if settings["disperse"] and len(order) < 2:
        yield Fault("disperse", "what stands before the last stage is dispersed, and nothing does")
    if settings["disperse"] and settings["optimizer"] == "carried":
        yield Fault("optimizer", "nothing is carried over a merge", "Leave it out, or disperse")


@registry("recipe").register("phased_ift", paper="arXiv:2406.04371", check=check, scorer="scorer")
def phased_ift(
    run: Any,
    config: Any,
    *,
    scorer: str | dict[str, Any] = "loss",
    cuts: list[float] | None = None,
    quantiles: list[float] | None = None,
    order: Annotated[list[int] | None, Each(Within(1))] = None,
    at_random: bool = False,
    optimizer: Literal["reset", "carried"] = "reset",
    disperse: bool = False,
) -> Any:
    """One model, trained on stage after stage of rows that get harder, or in another order."""
    examples = run.load(config.data)
    by = {"cuts": cuts} if cuts is not None else {"quantiles": quantiles or THIRDS}
    stages = run.stages(examples, run.score(scorer, examples), **by, at_random=at_random)
    *early, last = [stages[number - 1] for number in order] if order else stages
    if optimizer == "carried":
        return carried(run, config, [*early, last])
    if disperse:
        portions = run.disperse(config.disperse, run.mix(*early, name="phased_ift-early"))
        submodels = run.train_each(config.train, config.base, portions)
        trained = [run.merge(config.merge, config.base, submodels, portions, name="phased_ift-merged")]
        early = []
    else:
        trained = []
    for rows in [*early, last]:
        start = trained[-1] if trained else config.base
        trained.append(run.train(config.train, start, rows, name=f"phased_ift-{rows.part}"))
    return run.staged(trained, name="phased_ift")


def carried(run: Any, config: Any, stages: list[Any]) -> Any:
    """One training over all stages in turn: one optimizer and one schedule from first to last."""
    whole = config.train.but(num_train_epochs=1, train_sampling_strategy="sequential")
    rows = run.in_order(stages, epochs=config.train.args.get("num_train_epochs", 1), name="phased_ift-rows")
    total, ends = sum(stage.count for stage in stages), list[Fraction]()
    for stage in stages[:-1]:
        ends.append(Fraction(stage.count, total) + (ends[-1] if ends else 0))
    return run.train(whole, config.base, rows, name="phased_ift", checkpoints=ends)
