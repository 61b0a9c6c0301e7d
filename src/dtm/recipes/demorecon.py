"""DeMoRecon: tune on instructions beside variants that differ in one constraint, and prefer each one's own response.

Yang et al., "Enhancing and Assessing Instruction-Following with Fine-Grained Instruction Variants", arXiv:2406.11301.
The form of its preference pairs was not at hand; ours is contrastive: under x its response y is preferred to y', under
the variant x' its response y' to y. Controls: as many paraphrases of the same rows, as many other rows, and none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from dtm.foundations.registry import registry
from dtm.foundations.settings import Within
from dtm.recipes.phases import Start, first_phase


@registry("recipe").register("demorecon", paper="arXiv:2406.11301", wants={"extra": {"rows": "spare"}})
def demorecon(
    run: Any,
    config: Any,
    *,
    start: Start = "vanilla_sft",
    extra: Literal["variants", "paraphrases", "rows", "none"] = "variants",
    contrast: bool = False,
    spare: Annotated[float, Within(0, 0.9)] = 0.0,
) -> Any:
    """Fine-tune on rows with their variants; with `contrast`, one DPO on what tells them apart."""
    examples = run.load(config.data)
    rest, aside = run.set_aside(examples, spare) if spare else (examples, None)
    augmented = run.augment(config.augment, rest)
    rows = rest
    if extra == "variants":
        rows = augmented.rows
    elif extra == "paraphrases":
        rows = run.augment(config.augment, rest, method="paraphrase", most=augmented.count).rows
    elif extra == "rows":
        rows = run.with_more(rest, aside, augmented.count)
    model = first_phase(run, config, start, rows)
    if contrast:
        model = run.prefer(model, run.contrast(augmented), name="demorecon-1")
    return replace(model, name="demorecon")
