"""DeMoRecon: variants of an instruction that differ in one sub-instruction, each with its response.

Yang et al., "Enhancing and Assessing Instruction-Following with Fine-Grained Instruction Variants", arXiv:2406.11301:
decompose an instruction, modify one sub-instruction, reconstruct the instruction, and respond. There a large model does
all four; here rules do for constraints that can be checked (kind `constraint`), and a model does where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Literal

import dtm.augment.rules  # noqa: F401 - registers the rules
from dtm.augment.asked import asked_variants
from dtm.augment.attaching import attachable
from dtm.augment.rows import Augmented, Row, asked, child, seeds
from dtm.augment.rules.constraints import Constraint, Other, find
from dtm.foundations.registry import registry
from dtm.foundations.seeds import derive
from dtm.foundations.settings import Count, Fraction
from dtm.foundations.types import Examples


@registry("augment").register("demorecon", paper="arXiv:2406.11301")
def demorecon(
    examples: Examples,
    generate: Any,
    seed: int,
    *,
    by: Literal["rules", "llm"] = "rules",
    variants: Count = 3,
    attach: Fraction = 0.0,
    response: Literal["edited", "fresh"] = "edited",
    sources: list[str] | None = None,
) -> Augmented:
    """Up to so many variants of each instruction, each told apart by one of its constraints.

    By rules: of instructions with a checkable constraint; `attach` is the share of the others that get one, and their
    response its form. A variant counts only if its response follows it, and if the row's own response followed the
    row's instruction. By a model, `llm:` of the run file: of any instruction, answered by an edit of the old response
    or afresh.
    """
    if by == "llm":
        return asked_variants(examples, generate, variants=variants, response=response, sources=sources)
    made = Augmented()
    known = set(examples.column("id"))
    for row in seeds(examples, sources):
        random = Random(derive(seed, "demorecon", row["id"]))
        kept = 0
        for new in _variants(row, random, attach, made):
            if kept == variants:
                break
            if new["id"] not in known:
                known.add(new["id"])
                made.rows.append(new)
                kept += 1
        made.seeds += kept > 0
    return made


def _variants(row: Row, random: Random, attach: float, made: Augmented) -> Iterator[Row]:
    """The valid variants of a row, in an order drawn at random; others go aside."""
    instruction, response = asked(row)
    constraints = find(instruction)
    if not constraints:
        if random.random() < attach:
            yield from _attached(row, random)
        return
    if broken := next((one for one in constraints if not one.follows(response)), None):
        made.aside(row, f"the row's own response does not follow it ({broken.rule})", instruction, response)
        return
    every = [(one, other) for one in constraints for other in one.others(response)]
    if not every:
        made.aside(row, f"nothing can stand in its place ({constraints[0].rule})", instruction, response)
    random.shuffle(every)
    for one, other in every:
        changed = instruction[: one.start] + other.text + instruction[one.end :]
        if reason := _wrong(one, other, constraints, response):
            made.aside(row, f"{reason} ({one.rule})", changed, other.response)
            continue
        yield _child(row, one, other, changed, instruction[one.start : one.end], response)


def _wrong(one: Constraint, other: Other, constraints: list[Constraint], response: str) -> str:
    """Why a variant cannot be used; empty where it can."""
    if other.response is None:
        return "no rule can write its response"
    if other.response == response:
        return "its response is the old one"
    if not other.follows(other.response):
        return "its response does not follow it"
    if not all(same.follows(other.response) for same in constraints if same is not one):
        return "its response breaks another constraint"
    return ""


def _child(row: Row, one: Constraint, other: Other, changed: str, old: str, response: str) -> Row:
    assert other.response is not None
    return child(row, changed, other.response, {
        "method": "demorecon", "constraint": one.rule, "old": old, "new": other.text,
        "old_follows": other.follows(response), "new_follows": one.follows(other.response),
    })  # fmt: skip


def _attached(row: Row, random: Random) -> Iterator[Row]:
    """Variants that say one thing more than the row does; the row's instruction is content with either response."""
    instruction, response = asked(row)
    for other in attachable(response, random):
        if other.response != response:
            changed = f"{instruction.rstrip()} {other.text}"
            yield child(row, changed, other.response or "", {
                "method": "demorecon", "constraint": "attached", "old": "", "new": other.text,
                "old_follows": other.follows(response), "new_follows": True,
            })  # fmt: skip
