"""Paraphrases: other words for the same instruction, with the same response. The control of DeMoRecon.

As many rows of the same families as its variants are, which ask for nothing else.
"""

from __future__ import annotations

import re
from random import Random
from typing import Any

from dtm.augment.rows import Augmented, asked, child, seeds
from dtm.augment.rules.constraints import find
from dtm.foundations.registry import registry
from dtm.foundations.seeds import derive
from dtm.foundations.settings import Count
from dtm.foundations.types import Examples

FRAME = re.compile(r"\A(Question: )(.*)(\nAnswer:)\Z", re.DOTALL)  # as benchmarks put it
WORDINGS = (
    "Please do the following. {}", "{} Thank you.", "Here is what I need: {}", "Your task: {}", "I have a request. {}",
    "Could you help me with this? {}",
)  # fmt: skip


@registry("augment").register("paraphrase", paper="arXiv:2406.11301")
def paraphrase(
    examples: Examples, generate: Any, seed: int, *, variants: Count = 3, sources: list[str] | None = None
) -> Augmented:
    """Up to so many paraphrases of each instruction with a checkable constraint that its own response follows."""
    made = Augmented()
    known = set(examples.column("id"))
    for row in seeds(examples, sources):
        instruction, response = asked(row)
        constraints = find(instruction)
        if not constraints or not all(one.follows(response) for one in constraints):
            continue
        random = Random(derive(seed, "paraphrase", row["id"]))
        for wording in random.sample(WORDINGS, min(variants, len(WORDINGS))):
            new = child(
                row, _worded(instruction, wording), response, {"method": "paraphrase", "new": wording}
            )
            if new["id"] not in known:
                known.add(new["id"])
                made.rows.append(new)
        made.seeds += 1
    return made


def _worded(instruction: str, wording: str) -> str:
    """The instruction in those words, inside its frame if it has one."""
    framed = FRAME.match(instruction)
    if framed:
        return framed[1] + wording.replace("{}", framed[2]) + framed[3]
    return wording.replace("{}", instruction)
