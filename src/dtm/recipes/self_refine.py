"""Self-Refine Instruction-Tuning: tune on demonstrations, then prefer one's own right answers to one's own wrong ones.

Ranaldi and Freitas, "Self-Refine Instruction-Tuning for Aligning Reasoning in Language Models", arXiv:2405.00402: phase
1 is fine-tuning on a teacher's chains of thought, phase 2 is DPO on paths that the tuned model samples, judged by
ground truth, with the model of phase 1 as the reference. How its pairs are made was not at hand: see the pair rules.

The controls stand in `refine`: half of the labels exchanged, which must not gain; fine-tuning on the chosen answers
alone (rejection sampling, Yuan et al., arXiv:2308.01825); and more of phase 1 - both for the compute that sampling and
DPO cost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from dtm.foundations.registry import registry
from dtm.foundations.settings import Count
from dtm.recipes.phases import Start, first_phase


@registry("recipe").register("self_refine", paper="arXiv:2405.00402", asks={"teacher": "llm"})
def self_refine(
    run: Any,
    config: Any,
    *,
    teacher: Literal["gold", "llm"] = "gold",
    start: Start = "vanilla_sft",
    refine: Literal["dpo", "shuffled", "chosen", "sft"] = "dpo",
    rounds: Count = 1,
) -> Any:
    """Fine-tune, sample, pair by ground truth, DPO from the tuned model; so many rounds of the last three."""
    examples = run.load(config.data)
    if teacher == "llm":
        examples = run.demonstrate(examples)
    model = first_phase(run, config, start, examples)
    for number in range(1, rounds + 1):
        pairs = run.pair(config.pair, run.sample(config.sample, model, examples))
        name = f"self_refine-{number}"
        if refine in ("dpo", "shuffled"):
            model = run.prefer(model, pairs, name=name, shuffled=refine == "shuffled")
        else:
            rows = run.chosen(pairs) if refine == "chosen" else examples
            model = run.train(run.in_place(pairs, rows), model, rows, name=name)
    return replace(model, name="self_refine")
