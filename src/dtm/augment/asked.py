"""Variants by a language model: it takes instructions apart, changes one part at a time, and answers what comes out.

Two questions a seed and variant, each with a checked form: `vary` decomposes an instruction, modifies one
sub-instruction a variant and reconstructs the instruction; `respond` answers the variant, from scratch or by the least
edit of the old response, and says whether either response would do for the other instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from dtm.augment.rows import Augmented, Row, asked, child, seeds
from dtm.foundations.llm import Reply, Request
from dtm.foundations.types import Examples

Generate = Callable[[Sequence[Request]], list[Reply]]


class Part(BaseModel):
    """A sub-instruction, or a fact that the instruction gives."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["fact", "action", "constraint", "objective"]
    text: str


class Changed(BaseModel):
    """One variant: which part was changed, into what, and the whole new instruction; `valid`: it makes sense."""

    model_config = ConfigDict(extra="forbid")
    old: str
    new: str
    instruction: str
    valid: bool


class Varied(BaseModel):
    """What `vary` is answered with."""

    model_config = ConfigDict(extra="forbid")
    parts: list[Part]
    variants: list[Changed]


class Answered(BaseModel):
    """What `respond` is answered with."""

    model_config = ConfigDict(extra="forbid")
    response: str
    old_follows: bool
    new_follows: bool


VARY = """Take this instruction apart into facts, actions, constraints and objectives. Then write {count} variants of \
it. In each variant change one action, constraint or objective alone: to one that contradicts it, or to a parallel \
requirement. Keep every other word that can stay. Mark a variant that makes no sense as not valid.

Instruction:
{instruction}"""
RESPOND = {
    "fresh": "Answer the new instruction.",
    "edited": "Write a response to the new instruction. Edit the old response no more than the new instruction needs.",
}
ASKED = """{how} Say also whether the old response would follow the new instruction as it stands (old_follows), and \
whether your response would follow the old instruction (new_follows).

Old instruction:
{instruction}

Old response:
{response}

New instruction:
{changed}"""


def vary(rows: Sequence[Row], count: int) -> list[Request]:
    """The first question about each row."""
    requests = []
    for row in rows:
        instruction, _ = asked(row)
        text = VARY.format(count=count, instruction=instruction)
        inputs = {"instruction": instruction, "count": count}
        requests.append(Request([{"role": "user", "content": text}], Varied, task="vary", inputs=inputs))
    return requests


def asked_variants(
    examples: Examples, generate: Generate, *, variants: int, response: str, sources: list[str] | None
) -> Augmented:
    """Up to so many valid variants of each row; what was not answered, or not in its form, goes aside."""
    made = Augmented()
    rows = list(seeds(examples, sources))
    wanted: list[tuple[Row, Changed]] = []
    for row, reply in zip(rows, generate(vary(rows, variants)), strict=True):
        instruction, said = asked(row)
        if not reply.ok:
            made.aside(row, f"not taken apart: {reply.failure}", instruction, said)
            continue
        for one in reply.value.variants[:variants]:
            if reason := _useless(one, instruction):
                made.aside(row, reason, one.instruction, None)
            else:
                wanted.append((row, one))
    known = set(examples.column("id"))
    replies = generate([_respond(row, one, response) for row, one in wanted])
    for (row, one), reply in zip(wanted, replies, strict=True):
        new = _answered(row, one, reply, made)
        if new is not None and new["id"] not in known:
            known.add(new["id"])
            made.rows.append(new)
    made.seeds = len({row["parent"] for row in made.rows})
    return made


def _useless(one: Changed, instruction: str) -> str:
    if not one.valid:
        return "the model calls it invalid"
    return "" if one.instruction.strip() not in ("", instruction.strip()) else "it is the old instruction"


def _respond(row: Row, one: Changed, how: str) -> Request:
    instruction, response = asked(row)
    text = ASKED.format(how=RESPOND[how], instruction=instruction, response=response, changed=one.instruction)
    inputs = {"instruction": instruction, "response": response, "changed": one.instruction, "old": one.old,
              "new": one.new, "how": how}  # fmt: skip
    return Request([{"role": "user", "content": text}], Answered, task="respond", inputs=inputs)


def _answered(row: Row, one: Changed, reply: Reply, made: Augmented) -> Row | None:
    """The variant as a row, or None where it went aside."""
    if not reply.ok or not reply.value.response.strip():
        made.aside(row, f"not answered: {reply.failure or 'the response is empty'}", one.instruction, None)
        return None
    answer: Answered = reply.value
    if answer.response == asked(row)[1]:
        made.aside(row, "its response is the old one", one.instruction, answer.response)
        return None
    return child(row, one.instruction, answer.response, {
        "method": "demorecon", "constraint": "asked", "old": one.old, "new": one.new,
        "old_follows": answer.old_follows, "new_follows": answer.new_follows,
    })  # fmt: skip
