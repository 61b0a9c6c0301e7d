"""Dual-stage mixed fine-tuning: special skills first, then general data with a little of them mixed in.

Dong et al., "How Abilities in Large Language Models are Affected by Supervised Fine-tuning Data Composition", ACL 2024,
arXiv:2310.05492. k = (specialised used / all specialised) / (general used / all general); all general rows are used
here, so it is the share of the specialised ones. The paper: LLaMA-1, GSM8K-RFT and Code Alpaca, then ShareGPT with
k = 1/256, 3 epochs at 2e-5; it states two batch sizes, 16 and 128. Its figures were not reproduced here.

Its other strategies are settings: `multi_task`, `sequential` (source after source, general last), `mixed_sequential`
(k = 0), and the control without the first stage, `one_stage` (general data with the share; general alone with k = 0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from dtm.foundations.registry import registry
from dtm.foundations.settings import Count, Fault, Fraction

Strategy = Literal["dual_stage", "mixed_sequential", "sequential", "multi_task", "one_stage"]


def check(settings: Mapping[str, Any]) -> Iterator[Fault]:
    """What cannot be in these settings together."""
    for name in ("specialised", "general"):
        if not all(isinstance(one, str) for one in settings[name]):
            yield Fault(name, f"{settings[name]!r} is not a list of sources")
    if not settings["specialised"]:
        yield Fault("specialised", "no source is specialised", "Name sources of the data")
    if both := sorted(set(map(str, settings["specialised"])) & set(map(str, settings["general"]))):
        yield Fault("general", f"{both[0]!r} is specialised already")
    if settings["disperse"] and settings["strategy"] not in ("dual_stage", "mixed_sequential"):
        yield Fault(
            "disperse",
            f"{settings['strategy']} has no second stage of general rows",
        )


@registry("recipe").register(
    "dual_stage_mixed", paper="arXiv:2310.05492", check=check, sources=("specialised", "general")
)
def dual_stage_mixed(
    run: Any,
    config: Any,
    *,
    specialised: list[str],
    general: list[str] = [],  # noqa: B006 - never changed
    k: Fraction = 1 / 256,
    unit: Literal["rows", "tokens"] = "rows",
    at_least: Count = 10,
    strategy: Strategy = "dual_stage",
    disperse: bool = False,
) -> Any:
    """A model trained on the specialised sources, then on the general ones with a share k of the specialised."""
    examples = run.load(config.data)
    general = general or [source for source in run.sources_of() if source not in specialised]
    special = run.of_sources(examples, specialised, name="specialised")
    common = run.of_sources(examples, general, name="general")
    k = k if strategy in ("dual_stage", "one_stage") else 0.0
    replay = run.share(special, k, unit=unit, least=at_least, name="replay")
    if disperse:
        portions = run.disperse(config.disperse, common)
        first = run.train(config.train, config.base, special, name="dual_stage_mixed-1")
        mixed = [run.mix(rows, replay, name=f"portion {rows.part} and replay") for rows in portions]
        submodels = run.train_each(config.train, first, mixed)
        merged = run.merge(config.merge, first, submodels, mixed, name="dual_stage_mixed-merged")
        return run.staged([first, merged], name="dual_stage_mixed")
    trained: list[Any] = []
    for number, rows in enumerate(stages(run, strategy, examples, specialised, special, common, replay), 1):
        start = trained[-1] if trained else config.base
        trained.append(run.train(config.train, start, rows, name=f"dual_stage_mixed-{number}"))
    return run.staged(trained, name="dual_stage_mixed")


def stages(
    run: Any,
    strategy: Strategy,
    examples: Any,
    specialised: list[str],
    special: Any,
    common: Any,
    replay: Any,
) -> list[Any]:
    """What is trained on, one after another."""
    if strategy == "multi_task":
        return [run.mix(special, common, name="all together")]
    if strategy == "sequential":
        each = [run.of_sources(examples, [one], name=f"only {one}") for one in specialised]
        return [*each, common]
    second = run.mix(common, replay, name="general and replay")
    return [second] if strategy == "one_stage" else [special, second]
