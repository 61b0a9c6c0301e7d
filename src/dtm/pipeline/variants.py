"""How augmenting is done in this process: each function fills `claim.output` and returns its facts.

train.arrow      the rows and the new ones, rendered
invalid.jsonl    what could not be used, with its reason
sft.jsonl, dpo.jsonl, kto.jsonl    seeds and variants for other trainers
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from dtm.augment.exporting import SEED, contrasts, export
from dtm.augment.rows import Augmented
from dtm.foundations.chat import Renderer, Unusable
from dtm.foundations.errors import DataError
from dtm.foundations.files import canonical, text_digest, write_json
from dtm.foundations.registry import Bound
from dtm.foundations.store import Claim
from dtm.foundations.types import SCHEMA, TOKENS, Examples
from dtm.pipeline.pairing import write_pairs

EVERY = 500  # rows between two reports of progress
RENDERED = pa.schema([*SCHEMA, *TOKENS])
Row = dict[str, Any]


def augment(
    bound: Bound, generate: Any, examples: Examples, base: Path, rendering: dict[str, Any], seed: int,
    most: int | None, claim: Claim, progress: Any,
) -> dict[str, Any]:  # fmt: skip
    """The new rows behind the old ones, at most `most` of them; `generate` asks a model, or is None.

    Raises DataError where there is no new row.
    """
    claim.empty()
    try:
        made: Augmented = bound(examples, generate, seed)
    finally:
        llm = {"llm": generate.close()} if generate else {}
    rows = _rendered(made, base, rendering, progress)
    if most is not None and len(rows) > most:
        drawn = sorted(rows, key=lambda row: text_digest(f"{seed}/{row['id']}"))[:most]
        kept = {row["id"] for row in drawn}
        rows = [row for row in rows if row["id"] in kept]
    if not rows:
        why = "; ".join(f"{count} times: {reason}" for reason, count in made.reasons.items())
        raise DataError(f"{bound.method.name} made nothing of {len(examples)} rows" + (f" ({why})" if why else ""),
                        where="augment", mend="`dtm methods constraint` shows what the rules know; "
                        "augment.attach gives a constraint to instructions that have none")  # fmt: skip
    before = examples.table.select(RENDERED.names)
    whole = pa.concat_tables([before, pa.Table.from_pylist(rows, RENDERED)])
    Examples(whole).save(claim.output / "train.arrow")
    with open(claim.output / "invalid.jsonl", "w", encoding="utf-8") as file:
        file.writelines(canonical(one) + "\n" for one in made.invalid)
    wanted = {row["parent"] for row in rows}
    parents = {row["id"]: row for row in examples.rows() if row["id"] in wanted}
    export(parents, rows, claim.output)
    reasons = [{"reason": reason, "count": count} for reason, count in made.reasons.items()]
    told = {"seeds": len(parents), "made": len(rows), "invalid": len(made.invalid), "reasons": reasons,
            "kinds": _kinds(rows)}  # fmt: skip
    write_json(claim.output / "card.json", told)
    return {**_counts(Examples(whole)), "made": len(rows), "told": told, **llm}


def set_aside(examples: Examples, share: float, seed: int, claim: Claim) -> dict[str, Any]:
    """rest.arrow and aside.arrow: families with the smallest digests are aside, until they are that share of rows."""
    claim.empty()
    families = examples.column("family")
    sizes = Counter(families)
    aside: set[str] = set()
    count = 0
    for family in sorted(sizes, key=lambda one: text_digest(f"{seed}/{one}")):
        if count + sizes[family] > share * len(examples):
            break
        aside.add(family)
        count += sizes[family]
    parts = {"rest": [place for place, one in enumerate(families) if one not in aside],
             "aside": [place for place, one in enumerate(families) if one in aside]}  # fmt: skip
    if not all(parts.values()):
        raise DataError(f"{100 * share:g} % of {len(examples)} rows leave a part empty", where="recipe.spare",
                        mend="Set another share, or add data")  # fmt: skip
    facts = {}
    for name, places in parts.items():
        part = examples.take(places)
        part.save(claim.output / f"{name}.arrow")
        facts[name] = _counts(part)
    return facts


def with_more(examples: Examples, more: Examples, count: int, claim: Claim) -> dict[str, Any]:
    """train.arrow: the examples, and the first so many of the others; raises DataError where there are fewer."""
    claim.empty()
    if count > len(more):
        raise DataError(f"{count} more rows are wanted, and {len(more)} were set aside", where="recipe.spare",
                        mend="Set a larger share aside, or fewer augment.variants")  # fmt: skip
    whole = Examples(pa.concat_tables([examples.table, more.table.slice(0, count)]))
    whole.save(claim.output / "train.arrow")
    return _counts(whole)


def contrast(file: Path, claim: Claim) -> dict[str, Any]:
    """pairs.arrow and pairs.jsonl; raises DataError where no variant contradicts its row."""
    claim.empty()
    rows = list(Examples.open(file).rows())
    variants = [row for row in rows if row["parent"] is not None and "augment" in json.loads(row["meta"])]
    parents = {row["id"]: row for row in rows}
    found = list(contrasts(parents, variants))
    if not found:
        raise DataError("no variant contradicts its row, so there is nothing to prefer", where="augment")
    pairs = [_pair(asked, other, number) for number, (asked, other, _) in enumerate(found)]
    under_old = sum(side == SEED for _, _, side in found)
    reasons = {
        "the new response follows the old instruction as well": len(variants) - under_old,
        "the old response follows the new instruction as well": len(variants) - len(found) + under_old,
    }
    told = {"questions": len({row["parent"] for row in variants}), "made": len(pairs),
            "paired": len({row["family"] for row, _, _ in found}),
            "reasons": {reason: count for reason, count in reasons.items() if count}}  # fmt: skip
    return {**write_pairs(pairs, claim.output), "yield": told}


def _rendered(made: Augmented, base: Path, rendering: dict[str, Any], progress: Any) -> list[Row]:
    """The new rows with their tokens; those that cannot be rendered go aside."""
    from transformers import AutoTokenizer

    renderer = Renderer(AutoTokenizer.from_pretrained(base), **rendering)
    rows = []
    for number, row in enumerate(made.rows):
        try:
            rendered = renderer(row["messages"])
        except Unusable as reason:
            made.aside(
                row,
                str(reason).split(" (")[0],
                row["messages"][-2]["content"],
                row["messages"][-1]["content"],
            )
            continue
        rows.append({**row, "input_ids": rendered.input_ids, "assistant_mask": rendered.assistant_mask})
        if number % EVERY == 0:
            progress(number, len(made.rows))
    return rows


def _kinds(rows: list[Row]) -> dict[str, int]:
    told = (json.loads(row["meta"])["augment"] for row in rows)
    return dict(sorted(Counter(one.get("constraint", one["method"]) for one in told).items()))


def _pair(asked: Row, other: Row, number: int) -> Row:
    """The row's own response preferred to that of the other row."""
    start, stop = _last_turn(asked)
    first, last = _last_turn(other)
    return {
        "id": f"{asked['id']}/{number}", "source": asked["source"], "family": asked["family"],
        "prompt": asked["messages"][:-1], "chosen": asked["messages"][-1]["content"],
        "rejected": other["messages"][-1]["content"], "prompt_ids": asked["input_ids"][:start],
        "chosen_ids": asked["input_ids"][start:stop], "rejected_ids": other["input_ids"][first:last],
    }  # fmt: skip


def _last_turn(row: Row) -> tuple[int, int]:
    """Where the tokens of what the assistant said last begin and end."""
    mask = row["assistant_mask"]
    stop = len(mask) - mask[::-1].index(True)
    start = stop
    while start and mask[start - 1]:
        start -= 1
    return start, stop


def _counts(examples: Examples) -> dict[str, int]:
    lengths, trained = examples.token_counts()
    return {"rows": len(examples), "tokens": int(lengths.sum()), "trained_tokens": int(trained.sum())}
