"""What a base holds of the world: whether its greedy continuation is the value, letter for letter.

told        a statement that it read, up to the value
reworded    a statement that it never read on this fact
asked       a question that it read, as running text ("Question: ...\\nAnswer:")
reasked     a question that it never read, on a fact that it was asked about
unasked     the canonical question on a fact that it was never asked about
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dtm.testbed.pretrain.wording import Wordings
from dtm.testbed.world import Fact

BATCH = 64


@dataclass(frozen=True)
class Probe:
    """One question to the base: after `prompt` come `answer` and then something that begins with `end`."""

    way: str
    fact: Fact
    prompt: str
    answer: str
    end: str


def probes(wordings: Wordings, facts: Iterable[Fact]) -> Iterator[Probe]:
    """Every way in which those facts can be asked for; a fact has no probe where it has no such wording."""
    for fact in facts:
        closing = f" {fact.value}."
        told = [one for one in wordings.statements(fact) if one.endswith(closing)]
        if told:
            yield Probe("told", fact, told[0].removesuffix(closing), f" {fact.value}", ".")
        if reworded := wordings.withheld_statement(fact):
            yield Probe("reworded", fact, reworded.removesuffix(closing), f" {fact.value}", ".")
        asked = {"asked": wordings.questions(fact)[0], "reasked": wordings.withheld_question(fact)}
        if not wordings.is_asked(fact):
            asked = {"unasked": wordings.world.questions(fact)[0]}
        for way, question in asked.items():
            yield Probe(way, fact, f"Question: {question}\nAnswer:", f" {fact.value}", "\n")


def holds(model: Any, tokenizer: Any, asked: Sequence[Probe]) -> list[bool]:
    """For each probe whether greedy decoding gives the answer and then its end (or the stop token).

    Greedy decoding gives a text exactly if each of its tokens is the likeliest after those before it, so
    one forward pass over prompt and answer decides.
    """
    import torch

    found = [False] * len(asked)
    places = sorted(range(len(asked)), key=lambda place: len(asked[place].prompt))
    for start in range(0, len(places), BATCH):
        batch = places[start : start + BATCH]
        prompts = [tokenizer(asked[place].prompt)["input_ids"] for place in batch]
        answers = [tokenizer(asked[place].answer)["input_ids"] for place in batch]
        rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        longest = max(map(len, rows))
        padded_NT = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
        with torch.inference_mode():  # padding stands behind what is read, where causal attention never looks
            likeliest_NT = model(padded_NT).logits.argmax(-1).tolist()
        for place, prompt, answer, likeliest in zip(batch, prompts, answers, likeliest_NT, strict=True):
            first = len(prompt) - 1
            said, after = likeliest[first : first + len(answer)], likeliest[first + len(answer)]
            ends = after == tokenizer.eos_token_id or tokenizer.decode([after]).startswith(asked[place].end)
            found[place] = said == answer and ends
    return found


def shares(asked: Sequence[Probe], found: Sequence[bool]) -> dict[str, dict[str, dict[str, float]]]:
    """`{way: {attribute: {share, facts}}}`, with the attribute `all` for all of them together."""
    counts: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for probe, one in zip(asked, found, strict=True):
        for name in ("all", probe.fact.attribute):
            counts[probe.way][name].append(one)
    return {
        way: {name: {"share": sum(ones) / len(ones), "facts": len(ones)} for name, ones in of.items()}
        for way, of in counts.items()
    }
