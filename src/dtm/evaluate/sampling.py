"""Rollouts: what a model answers to the questions of rows, several times each and with a temperature.

Every token is drawn by a number that belongs to the row, the try and the place, so that an answer does not depend on
which others were drawn beside it, on kills, or on how many workers there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dtm.evaluate.drawing import Drawing, draw
from dtm.evaluate.loading import model_and_tokenizer
from dtm.foundations.chat import stop_tokens
from dtm.foundations.errors import DataError
from dtm.foundations.files import canonical, read_json, text_digest, write_text
from dtm.foundations.seeds import derive
from dtm.foundations.types import MESSAGE, Examples, canonical_id

IDS = pa.list_(pa.int32())
QUESTIONS = pa.schema([
    ("id", pa.string()), ("source", pa.string()), ("family", pa.string()),
    ("prompt", pa.list_(MESSAGE)),  # all turns before the last
    ("gold", pa.string()),          # the row's own last turn
    ("meta", pa.string()), ("prompt_ids", IDS),
    ("gold_ids", IDS),              # its stop token included
])  # fmt: skip
ROLLOUTS = pa.schema([
    ("question", pa.int32()),       # place in questions.arrow
    ("kind", pa.string()),          # `path`, or `direct` where the model was asked for the answer alone
    ("text", pa.string()), ("ids", IDS),
    ("finished", pa.bool_()),       # whether it stopped by itself; the stop token is the last of its ids
])  # fmt: skip
SIDES = ("path", "direct")


def sample(job: dict[str, Any], progress: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """Draw answers to the questions of rendered rows: `questions.arrow` and `rollouts.arrow`.

    `job` holds a model's place (see `loading`), examples (file), output, scratch (folders), sources (names or None),
    limit (questions or None), direct (a request for the answer alone, or None), copies, temperature, top_p, top_k,
    most (tokens of an answer), batch_size (questions at a time), seed, threads. Batches that are done stand in
    scratch and are not done again. Returns counts.
    """
    import torch

    if job.get("threads"):
        torch.set_num_threads(job["threads"])
    examples = Examples.open(Path(job["examples"]))
    model, tokenizer = model_and_tokenizer(job)
    room = getattr(model.config, "max_position_embeddings", None) or 1 << 30
    found, skipped = _questions(examples, tokenizer, job, room - job["most"])
    if not found:
        raise DataError("no row has a question to answer", where="sample",
                        mend="Rows need a last turn of the assistant; sample.sources says which to take")  # fmt: skip
    asker = _Asker(model, tokenizer, job)
    output = Path(job["output"])
    batches = list(_batches(found, job["batch_size"]))
    rollouts: list[dict[str, Any]] = []
    for number, batch in enumerate(batches):
        rollouts += _kept(Path(job["scratch"]) / f"batch-{number}.json", batch, found, asker)
        if progress:
            progress({"done": number + 1, "total": len(batches), "stage": "batches of questions"})
    rollouts.sort(key=lambda one: (one["question"], SIDES.index(one["kind"]), one["try"]))
    _write(output / "questions.arrow", QUESTIONS, found)
    _write(output / "rollouts.arrow", ROLLOUTS, rollouts)
    said = sum(len(one["ids"]) for one in rollouts)
    read = sum(len(found[one["question"]]["prompt_ids"]) for one in rollouts) // job["copies"]
    return {"questions": len(found), "rows": len(rollouts), "tokens": said, "read_tokens": read, **skipped,
            "unfinished": sum(not one["finished"] for one in rollouts)}  # fmt: skip


def _questions(
    examples: Examples, tokenizer: Any, job: dict[str, Any], room: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """One a distinct prompt, in the order of the rows; and why rows have none."""
    found: dict[str, dict[str, Any]] = {}
    skipped = {"no_question": 0, "repeated": 0, "too_long": 0}
    for row in examples.rows():
        if job["sources"] is not None and row["source"] not in job["sources"]:
            continue
        *prompt, last = row["messages"]
        if not prompt or last["role"] != "assistant":
            skipped["no_question"] += 1
            continue
        identity = canonical_id(prompt)
        if identity in found:
            skipped["repeated"] += 1
            continue
        prompt_ids = _rendered(tokenizer, prompt)
        if len(prompt_ids) > room:
            skipped["too_long"] += 1
            continue
        found[identity] = {
            **{name: row[name] for name in ("id", "source", "family", "meta")}, "prompt": prompt,
            "gold": last["content"], "prompt_ids": prompt_ids, "gold_ids": _last_turn(row),
        }  # fmt: skip
    chosen = list(found)
    if job["limit"] is not None and job["limit"] < len(chosen):
        drawn = sorted(chosen, key=lambda one: text_digest(f"{job['seed']}/{one}"))[: job["limit"]]
        chosen = [one for one in chosen if one in set(drawn)]
    return [found[one] for one in chosen], skipped


def _rendered(tokenizer: Any, prompt: list[dict[str, str]]) -> list[int]:
    """The prompt as the model meets it before its answer."""
    text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _last_turn(row: dict[str, Any]) -> list[int]:
    """The tokens of what the assistant said last, as they were rendered for training."""
    mask = row["assistant_mask"]
    stop = len(mask) - mask[::-1].index(True)
    start = stop
    while start and mask[start - 1]:
        start -= 1
    return row["input_ids"][start:stop]


def _batches(found: Sequence[dict[str, Any]], size: int) -> Iterator[list[int]]:
    """Places of the questions, those of many tokens first."""
    order = sorted(range(len(found)), key=lambda place: (-len(found[place]["prompt_ids"]), place))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _kept(
    file: Path, batch: list[int], found: Sequence[dict[str, Any]], asker: _Asker
) -> list[dict[str, Any]]:
    """The rollouts of a batch: those in the file, or drawn and written there."""
    try:
        return read_json(file)
    except (OSError, ValueError):
        drawn = [one for kind in asker.kinds for one in asker(batch, found, kind)]
        write_text(file, canonical(drawn))
        return drawn


@dataclass(frozen=True)
class _Asker:
    """A model with what it is asked by."""

    model: Any
    tokenizer: Any
    job: dict[str, Any]

    @property
    def kinds(self) -> tuple[str, ...]:
        return SIDES if self.job["direct"] else SIDES[:1]

    @property
    def ends(self) -> set[int]:
        said = self.model.generation_config.eos_token_id
        return {*stop_tokens(self.tokenizer), *(said if isinstance(said, list | tuple) else [said])} - {None}

    def __call__(self, batch: list[int], found: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
        """The answers of one kind to the questions of a batch."""
        copies, most, ends = self.job["copies"], self.job["most"], self.ends
        prompts = [self._prompt(found[place], kind) for place in batch]
        numbers = [_numbers(self.job["seed"], found[place]["id"], kind, one, most)
                   for place in batch for one in range(copies)]  # fmt: skip
        settings = Drawing(self.job["temperature"], self.job["top_p"], self.job["top_k"])
        drawn = draw(self.model, prompts, copies, numbers, most, ends, settings)
        return [
            self._told(batch[row // copies], kind, row % copies, ids, ends) for row, ids in enumerate(drawn)
        ]

    def _prompt(self, question: dict[str, Any], kind: str) -> list[int]:
        if kind == "path":
            return question["prompt_ids"]
        *before, last = question["prompt"]
        asked = {"role": last["role"], "content": f"{last['content']}\n{self.job['direct']}"}
        return _rendered(self.tokenizer, [*before, asked])

    def _told(self, place: int, kind: str, number: int, ids: list[int], ends: set[int]) -> dict[str, Any]:
        finished = bool(ids) and ids[-1] in ends
        text = self.tokenizer.decode(ids[:-1] if finished else ids, skip_special_tokens=True)
        return {
            "question": place,
            "kind": kind,
            "try": number,
            "ids": ids,
            "text": text,
            "finished": finished,
        }


def _numbers(seed: int, identity: str, kind: str, number: int, most: int) -> Any:
    """The numbers in [0, 1) that draw the tokens of one answer, fp64 [most]."""
    import numpy as np

    return np.random.Generator(np.random.Philox(derive(seed, identity, kind, number))).random(most)


def _write(path: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(table)
