"""From rollouts to preference pairs, in this process: final answers are compared, a rule picks, all is counted.

pairs.arrow    the pairs as tokens, for the trainer
pairs.jsonl    the same as text, in TRL's conversational preference format
card.json      the yield: questions, those with right and with wrong answers, pairs
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from dtm.foundations.errors import DataError
from dtm.foundations.files import canonical, write_json
from dtm.foundations.registry import Bound
from dtm.foundations.store import Claim
from dtm.foundations.types import MESSAGE, SCHEMA, TOKENS, Examples, canonical_id
from dtm.pipeline.check_preference import Preference
from dtm.train.pairs.answers import Answer, Paired, Question

IDS = pa.list_(pa.int32())
PAIRS = pa.schema([
    ("id", pa.string()), ("source", pa.string()), ("family", pa.string()), ("prompt", pa.list_(MESSAGE)),
    ("chosen", pa.string()), ("rejected", pa.string()),
    ("prompt_ids", IDS), ("chosen_ids", IDS), ("rejected_ids", IDS),
])  # fmt: skip
COUNTED = (
    "questions",
    "sampled",
    "right",
    "with_right",
    "with_wrong",
    "unfinished",
    "near_duplicates",
    "paired",
    "made",
)
Row = dict[str, Any]


def pair(rollouts: Path, preference: Preference, gold: str | None, claim: Claim) -> dict[str, Any]:
    """The pairs of all questions; raises DataError where there is none, with the yield."""
    claim.empty()
    told: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
    reasons: Counter[str] = Counter()
    rows: list[Row] = []
    for number, (row, answers) in enumerate(_asked(rollouts)):
        told["questions"] += 1
        target = target_of(row, preference.extractor(row["source"]), gold)
        if target is None:
            reasons["the gold holds no answer"] += 1
            continue
        question = _question(row, answers, preference.extractor(row["source"]), target)
        told.update(_count(question, answers))
        found: Paired = preference.rule(question)
        told["near_duplicates"] += found.near
        if not found.pairs:
            reasons[found.reason] += 1
        told["paired"] += bool(found.pairs)
        rows += [_row(row, f"{number}-{place}", *one) for place, one in enumerate(found.pairs)]
    told["made"] = len(rows)
    card = {**told, "reasons": dict(sorted(reasons.items()))}
    if not rows:
        why = ", ".join(f"{count} times: {reason}" for reason, count in reasons.most_common(3))
        raise DataError(f"{told['questions']} questions give no pair ({why})", where="pair",
                        mend="Sample more (sample.num_return_sequences), hotter (sample.temperature), other sources; "
                             "pair.answer says how answers are read")  # fmt: skip
    write_json(claim.output / "card.json", card)
    return {**write_pairs(rows, claim.output), "yield": card}


def write_pairs(rows: list[Row], output: Path) -> dict[str, Any]:
    """pairs.arrow and pairs.jsonl of rows with PAIRS' columns; counts of pairs and tokens, a prompt counted twice."""
    table = pa.Table.from_pylist(rows, PAIRS)
    with pa.OSFile(str(output / "pairs.arrow"), "wb") as sink, pa.ipc.new_file(sink, PAIRS) as writer:
        writer.write_table(table)
    with open(output / "pairs.jsonl", "w", encoding="utf-8") as file:
        for row in rows:
            sides = {side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}
            file.write(canonical({"prompt": row["prompt"], **sides, "source": row["source"]}) + "\n")
    said = sum(len(row[name]) for row in rows for name in ("chosen_ids", "rejected_ids"))
    whole = said + 2 * sum(len(row["prompt_ids"]) for row in rows)
    return {"rows": len(rows), "tokens": whole, "trained_tokens": said}


def read_pairs(file: Path) -> list[Row]:
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all().to_pylist()


def chosen_rows(pairs: Path, claim: Claim) -> dict[str, Any]:
    """The distinct chosen answers as rendered rows, to fine-tune on: chosen.arrow."""
    claim.empty()
    rows: dict[str, Row] = {}
    for one in read_pairs(pairs):
        messages = [*one["prompt"], {"role": "assistant", "content": one["chosen"]}]
        identity = canonical_id(messages)
        ids, told = one["prompt_ids"], one["chosen_ids"]
        rows.setdefault(identity, {
            "id": identity, "source": one["source"], "messages": messages, "parent": one["id"],
            "family": one["family"], "meta": "{}", "input_ids": [*ids, *told],
            "assistant_mask": [False] * len(ids) + [True] * len(told),
        })  # fmt: skip
    schema = pa.schema([*SCHEMA, *TOKENS])
    examples = Examples(pa.Table.from_pylist(list(rows.values()), schema))
    examples.save(claim.output / "chosen.arrow")
    lengths, trained = examples.token_counts()
    return {"rows": len(examples), "tokens": int(lengths.sum()), "trained_tokens": int(trained.sum())}


def _asked(folder: Path) -> Iterator[tuple[Row, list[Row]]]:
    """Each question with its rollouts."""
    tables = [pa.ipc.open_file(pa.memory_map(str(folder / name))).read_all()
              for name in ("questions.arrow", "rollouts.arrow")]  # fmt: skip
    answers: dict[int, list[Row]] = {}
    for one in tables[1].to_pylist():
        answers.setdefault(one["question"], []).append(one)
    for place, row in enumerate(tables[0].to_pylist()):
        yield row, answers.get(place, [])


def target_of(row: Row, extract: Bound, field: str | None) -> str | None:
    """The right answer: read off the row's last turn, or off a field of what else its file said."""
    if field is None:
        return extract(row["gold"])
    value = json.loads(row["meta"]).get(field)
    return None if value is None or isinstance(value, dict | list) else extract(str(value))


def _question(row: Row, answers: Iterable[Row], extract: Bound, target: str) -> Question:
    def judged(one: Row) -> Answer:
        right = one["finished"] and extract(one["text"]) == target
        return Answer(one["text"], tuple(one["ids"]), right)

    kinds: dict[str, list[Answer]] = {"path": [], "direct": []}
    for one in answers:
        kinds[one["kind"]].append(judged(one))
    gold = Answer(row["gold"], tuple(row["gold_ids"]), True, gold=True)
    return Question(gold, tuple(kinds["path"]), tuple(kinds["direct"]))


def _count(question: Question, answers: Iterable[Row]) -> Counter[str]:
    right = sum(path.right for path in question.paths)
    return Counter({
        "sampled": len(question.paths), "right": right, "with_right": int(right > 0),
        "with_wrong": int(right < len(question.paths)), "unfinished": sum(not one["finished"] for one in answers),
    })  # fmt: skip


def _row(question: Row, identity: str, chosen: Answer, rejected: Answer) -> Row:
    kept = {name: question[name] for name in ("source", "family", "prompt", "prompt_ids")}
    return {**kept, "id": f"{question['id']}/{identity}", "chosen": chosen.text, "rejected": rejected.text,
            "chosen_ids": list(chosen.ids), "rejected_ids": list(rejected.ids)}  # fmt: skip
