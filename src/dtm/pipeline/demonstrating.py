"""Demonstrations by a teacher: a language model answers the rows' questions; where it is right, its words are taken."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dtm.foundations.chat import Renderer, Unusable
from dtm.foundations.llm import Reply, Request
from dtm.foundations.store import Claim, Step
from dtm.foundations.types import SCHEMA, TOKENS, Examples, canonical_id
from dtm.pipeline import asking, building
from dtm.pipeline.pairing import target_of
from dtm.pipeline.rows import Rows, rows_of

if TYPE_CHECKING:
    from dtm.pipeline.verbs import Run

TEACH = "Think step by step, then give the final answer."
RENDERED = pa.schema([*SCHEMA, *TOKENS])
Row = dict[str, Any]


def demonstrate(run: Run, examples: Rows) -> Rows:
    """The examples, their last turn written by `llm:` wherever that reaches the row's own final answer."""
    checked, base = run.checked, run.base()
    preference, config = checked.preference, checked.config
    assert preference is not None
    rendering = {"max_length": checked.train.args["max_length"], "too_long": config.chat.too_long}
    sources = config.sample.sources
    inputs = {"examples": examples.digest,
              "tokenizer": building.tokenizer_digest(base.folder, run.steps.store.digests)}  # fmt: skip
    settings = {**rendering, "answer": preference.key["answer"], "gold": config.pair.gold, "sources": sources}

    def asked() -> list[Row]:
        return [row for row in examples.open().rows() if _is_question(row, sources)]

    def write(claim: Claim, replies: list[Reply]) -> dict[str, Any]:
        return _write(run, examples.open(), asked(), replies, base.folder, rendering, claim)

    label = "demonstrations"
    artifact = asking.ask(
        run, label, f"by a teacher, of {examples.count:,} rows", Step("demonstrate", settings, inputs),
        lambda: [_request(row) for row in asked()], write,
    )  # fmt: skip
    counts = {"rows": examples.count, "tokens": examples.tokens, "trained_tokens": examples.trained_tokens}
    if artifact.pending:
        return rows_of(label, artifact, "train.arrow", counts)
    run.augmented.append({"for": run.making, "method": label, **artifact.facts["told"]})
    return rows_of(label, artifact, "train.arrow", artifact.facts)


def _is_question(row: Row, sources: list[str] | None) -> bool:
    roles = [message["role"] for message in row["messages"]]
    return roles[-2:] == ["user", "assistant"] and (sources is None or row["source"] in sources)


def _request(row: Row) -> Request:
    *before, last, own = row["messages"]
    messages = [*before, {"role": "user", "content": f"{last['content']}\n{TEACH}"}]
    return Request(messages, task="teach", inputs={"question": last["content"], "own": own["content"]})


def _write(
    run: Run, examples: Examples, asked: list[Row], replies: list[Reply], base: Path, rendering: dict[str, Any],
    claim: Claim,
) -> dict[str, Any]:  # fmt: skip
    """train.arrow: every row, in its order; those that the teacher got right with its words."""
    from transformers import AutoTokenizer

    preference, gold = run.checked.preference, run.checked.config.pair.gold
    assert preference is not None
    renderer = Renderer(AutoTokenizer.from_pretrained(base), **rendering)
    reasons: Counter[str] = Counter()
    taught: dict[str, Row] = {}
    for row, reply in zip(asked, replies, strict=True):
        extract = preference.extractor(row["source"])
        target = target_of({**row, "gold": row["messages"][-1]["content"]}, extract, gold)
        if not reply.ok:
            reasons["not answered"] += 1
        elif target is None or extract(reply.text) != target:
            reasons["the teacher's answer is another one"] += 1
        else:
            messages = [*row["messages"][:-1], {"role": "assistant", "content": reply.text.strip()}]
            try:
                rendered = renderer(messages)
            except Unusable as reason:
                reasons[str(reason).split(" (")[0]] += 1
                continue
            taught[row["id"]] = {
                **row, "id": canonical_id(messages), "messages": messages, "parent": row["id"],
                "input_ids": rendered.input_ids, "assistant_mask": rendered.assistant_mask,
            }  # fmt: skip
    rows = [taught.get(row["id"], row) for row in examples.rows()]
    whole = Examples(pa.Table.from_pylist(rows, RENDERED))
    whole.save(claim.output / "train.arrow")
    lengths, trained = whole.token_counts()
    told = {"seeds": len(asked), "made": len(taught), "invalid": reasons.total(), "kinds": {},
            "reasons": [{"reason": reason, "count": count} for reason, count in sorted(reasons.items())]}  # fmt: skip
    return {
        "rows": len(whole),
        "tokens": int(lengths.sum()),
        "trained_tokens": int(trained.sum()),
        "told": told,
    }
