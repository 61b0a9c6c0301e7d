"""Held-out benchmarks: what the model must still know, reckon and follow after it was tuned.

    world_choice         {query, choices, gold}       held-out facts, four choices
    world_choice_taught  {query, choices, gold}       taught facts: what tuning taught
    world_exact          {context, answer, aliases}   held-out facts, right whatever the case
    world_exact_taught   {context, answer, aliases}   taught facts, asked for in the same words
    arithmetic           {context, answer, aliases}   operations that no mixture row holds
    format               {context, answer, aliases}   exactly that text, letter for letter: `match` is "exact"

`gold` is an index into `choices`. A query ends with the question, a context with "Answer:"; the answer
follows after one space. Every item has an `id`, unique in all tasks, and `facts`, the ids of the facts that
it asks about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from dtm.foundations.errors import ConfigError
from dtm.foundations.seeds import derive
from dtm.testbed.arithmetic import draw_operation
from dtm.testbed.formats import fact_task, word_task
from dtm.testbed.split import Split
from dtm.testbed.world import Fact, World

CHOICES = 4
PARTS = ("dev", "test")
SIZES = {"dev": 200, "test": 400}

Item = dict[str, Any]


def build_benchmarks(
    world: World, split: Split, seed: int, sizes: Mapping[str, int] = SIZES
) -> dict[str, dict[str, list[Item]]]:
    """The items as `{part: {task: items}}`; a task has fewer than its size where the facts do not suffice."""
    for part in PARTS:
        if sizes[part] < 1:
            raise ConfigError(f"{sizes[part]!r} items are not at least 1", where=part)
    return {
        part: {
            name: [
                {"id": f"{name}/{part}/{number}", **item}
                for number, item in enumerate(build(world, split, part, seed, sizes))
            ]
            for name, build in TASKS.items()
        }
        for part in PARTS
    }


def _world_choice(world: World, split: Split, part: str, seed: int, sizes: Mapping[str, int]) -> list[Item]:
    random = Random(derive(seed, "benchmarks", "world_choice", part))
    return _choices(world, getattr(split, part), sizes[part], random)


def _world_choice_taught(
    world: World, split: Split, part: str, seed: int, sizes: Mapping[str, int]
) -> list[Item]:
    random = Random(derive(seed, "benchmarks", "world_choice_taught", part))
    return _choices(world, _taught(split, part, seed, sizes), sizes[part], random)


def _taught(split: Split, part: str, seed: int, sizes: Mapping[str, int]) -> list[Fact]:
    """Dev and test ask about different taught facts: one shuffle, cut in proportion to the sizes."""
    facts = list(split.taught)
    Random(derive(seed, "benchmarks", "world_choice_taught")).shuffle(facts)
    cut = len(facts) * sizes["dev"] // (sizes["dev"] + sizes["test"])
    return facts[:cut] if part == "dev" else facts[cut:]


def _choices(world: World, facts: Sequence[Fact], size: int, random: Random) -> list[Item]:
    """Multiple choice over those facts; each position holds the gold equally often, give or take one."""
    items: list[Item] = []
    golds: list[int] = []
    for fact in random.sample(facts, len(facts)):
        wrong = world.distractors(fact, CHOICES - 1, random)
        if len(wrong) < CHOICES - 1:  # three states of matter: chance would not be 1 in 4
            continue
        if len(items) == size:
            break
        if not golds:
            golds = random.sample(range(CHOICES), CHOICES)
        gold = golds.pop()
        choices = [*wrong[:gold], fact.value, *wrong[gold:]]
        query = f"Question: {world.questions(fact)[0]}"
        items.append({"query": query, "choices": choices, "gold": gold, "facts": [fact.id]})
    return items


def _world_exact(world: World, split: Split, part: str, seed: int, sizes: Mapping[str, int]) -> list[Item]:
    return _exacts(
        world, getattr(split, part), sizes[part], Random(derive(seed, "benchmarks", "world_exact", part))
    )


def _world_exact_taught(
    world: World, split: Split, part: str, seed: int, sizes: Mapping[str, int]
) -> list[Item]:
    random = Random(derive(seed, "benchmarks", "world_exact_taught", part))
    return _exacts(world, _taught(split, part, seed, sizes), sizes[part], random)


def _exacts(world: World, facts: Sequence[Fact], size: int, random: Random) -> list[Item]:
    """The canonical question on each of so many of those facts."""
    return [
        _exact(world.questions(fact)[0], fact.value, fact.aliases, [fact])
        for fact in random.sample(facts, min(size, len(facts)))
    ]


def _arithmetic(world: World, split: Split, part: str, seed: int, sizes: Mapping[str, int]) -> list[Item]:
    """Each operation is asked once, also if the numbers come in the other order."""
    random = Random(derive(seed, "benchmarks", "arithmetic", part))

    def draw() -> tuple[str, Item]:
        operation = draw_operation(random, seed, part)
        spoken = random.choice([operation.text, operation.spoken])
        return operation.key, _exact(f"What is {spoken}?", str(operation.result))

    return _distinct(draw, sizes[part])


def _format(world: World, split: Split, part: str, seed: int, sizes: Mapping[str, int]) -> list[Item]:
    """In turn a task about a held-out fact, and one whose words stand in the prompt."""
    random = Random(derive(seed, "benchmarks", "format", part))
    about_facts = True

    def draw() -> tuple[str, Item]:
        nonlocal about_facts
        if about_facts:
            task = fact_task(world, random.choice(getattr(split, part)), random)
        else:
            task = word_task(random, seed, part)
        about_facts = not about_facts
        facts = [task.fact] if task.fact else []
        return task.prompt, {**_exact(task.prompt, task.answer, facts=facts), "match": "exact"}

    return _distinct(draw, sizes[part])


def _distinct(draw: Callable[[], tuple[str, Item]], size: int) -> list[Item]:
    """Draw until there are `size` items with distinct keys, or a hundred draws in a row bring nothing new."""
    items: dict[str, Item] = {}
    misses = 0
    while len(items) < size and misses < 100:
        key, item = draw()
        misses = misses + 1 if key in items else 0
        items.setdefault(key, item)
    return list(items.values())


def _exact(question: str, answer: str, aliases: Sequence[str] = (), facts: Sequence[Fact] = ()) -> Item:
    return {
        "context": f"Question: {question}\nAnswer:",
        "answer": answer,
        "aliases": list(aliases),
        "facts": [fact.id for fact in facts],
    }


TASKS: dict[str, Callable[[World, Split, str, int, Mapping[str, int]], list[Item]]] = {
    "world_choice": _world_choice,
    "world_choice_taught": _world_choice_taught,
    "world_exact": _world_exact,
    "world_exact_taught": _world_exact_taught,
    "arithmetic": _arithmetic,
    "format": _format,
}
