"""Kinds of tasks about two instructions that differ in one constraint: x with y, and x' with y' (DeMoRecon).

Yang et al., "Enhancing and Assessing Instruction-Following with Fine-Grained Instruction Variants", arXiv:2406.11301. A
row has the columns of one item, and those of the other with `other_` before their names.
"""

from __future__ import annotations

from dataclasses import replace

from dtm.evaluate.kinds import BadRow, Item, Row, exact_match, ifeval, kinds, text

KEYS = ("context", "other_context", "answer", "other_answer")
SHARED = ("match", "stop")


@kinds.register(
    "pair_consistent", keys=KEYS, metrics=("pair_consistent", "satisfied"), answer="generate", examples=False
)
def pair_consistent(row: Row, place: int, *, max_tokens: int = 32) -> Item:
    """Whether the greedy answers to both of a pair of instructions are right.

    Each is judged by `answer` and `aliases` as in `exact_match`, or by `instruction_id_list` and `kwargs` as in
    `ifeval`. `satisfied` is the share of the two that are right.
    """
    first, second = (_one(part, place, max_tokens) for part in _parts(row))
    if first.context == second.context:
        raise BadRow("both contexts are the same")
    return replace(first, other=second)


@kinds.register(
    "pair_contrast", keys=KEYS, metrics=("contrast", "contrast_both"), answer="pair",
    examples=False,
)  # fmt: skip
def pair_contrast(row: Row, place: int) -> Item:
    """Whether each instruction's own response is likelier under it than the other's: log p(y | x) > log p(y' | x).

    `contrast` is the mean over both instructions, `contrast_both` whether it holds for both. Guessing gives a half.
    """
    x, other_x = text(row, "context"), text(row, "other_context")
    y, other_y = text(row, "answer"), text(row, "other_answer")
    if y == other_y:
        raise BadRow("both answers are the same")
    return Item(place, (x, x, other_x, other_x), (y, other_y, other_y, y), worked=y)


def _parts(row: Row) -> tuple[Row, Row]:
    """The columns of the first and of the second item."""
    shared = {name: row[name] for name in SHARED if name in row}
    first = {name: value for name, value in row.items() if not name.startswith("other_")}
    second = {name.removeprefix("other_"): value for name, value in row.items() if name.startswith("other_")}
    return first, {**shared, **second}


def _one(part: Row, place: int, max_tokens: int) -> Item:
    if part.get("instruction_id_list"):
        return ifeval({**part, "prompt": part.get("context")}, place, max_tokens=max_tokens)
    return exact_match(part, place, max_tokens=max_tokens)
