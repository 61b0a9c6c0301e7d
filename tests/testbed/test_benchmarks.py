import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtm.foundations.errors import ConfigError
from dtm.testbed.benchmarks import build_benchmarks
from dtm.testbed.split import split_facts
from dtm.testbed.world import load_world

from .reading_back import turns, unframed
from .test_sources import calculate, obey

CHOICES = ("world_choice", "world_choice_taught")


@pytest.fixture(scope="session")
def benchmarks(world, split):
    return build_benchmarks(world, split, 0)


def items(benchmarks, *tasks):
    return [(part, item) for part in ("dev", "test") for task in tasks for item in benchmarks[part][task]]


def test_sizes_and_ids(benchmarks):
    for part, size in (("dev", 200), ("test", 400)):
        assert {name: len(one) for name, one in benchmarks[part].items()} == dict.fromkeys(
            benchmarks[part], size
        )
    ids = [item["id"] for _, item in items(benchmarks, *benchmarks["dev"])]
    assert len(ids) == len(set(ids))


def test_every_item_asks_for_facts_of_its_part(benchmarks, split):
    for part, item in items(benchmarks, "world_choice", "world_exact", "format"):
        assert {split.part[fact] for fact in item["facts"]} <= {part}
    for _, item in items(benchmarks, "world_choice_taught", "world_exact_taught"):
        assert [split.part[fact] for fact in item["facts"]] == ["taught"]


@pytest.mark.parametrize("task", [*CHOICES, "world_exact", "world_exact_taught"])
def test_a_fact_is_asked_once(benchmarks, task):
    asked = Counter(fact for _, item in items(benchmarks, task) for fact in item["facts"])
    assert max(asked.values()) == 1


def test_choices_have_one_right_answer(benchmarks, facts, world):
    for _, item in items(benchmarks, *CHOICES):
        fact = facts[item["facts"][0]]
        assert item["query"] == f"Question: {world.questions(fact)[0]}"
        assert len({choice.casefold() for choice in item["choices"]}) == 4
        right = [place for place, choice in enumerate(item["choices"]) if fact.accepts(choice)]
        assert right == [item["gold"]]
        assert item["choices"][item["gold"]] == fact.value


def test_golds_are_balanced(benchmarks):
    for task in CHOICES:
        for part in ("dev", "test"):
            golds = Counter(item["gold"] for item in benchmarks[part][task])
            assert sorted(golds) == [0, 1, 2, 3]
            assert max(golds.values()) - min(golds.values()) <= 1


def test_golds_follow_no_pattern(benchmarks):
    golds = [item["gold"] for item in benchmarks["test"]["world_choice"]]
    repeats = sum(a == b for a, b in zip(golds[4:], golds, strict=False))
    assert repeats < 0.4 * len(golds)  # 0.25 by chance


def test_contexts_end_where_the_answer_begins(benchmarks):
    for _, item in items(benchmarks, "world_exact", "world_exact_taught", "arithmetic", "format"):
        assert re.fullmatch(r"Question: [^\n]+\nAnswer:", item["context"])
        assert item["answer"] == item["answer"].strip() != ""
        assert "\n" not in item["answer"]


def test_exact_answers_are_the_facts(benchmarks, facts, world):
    for _, item in items(benchmarks, "world_exact", "world_exact_taught"):
        fact = facts[item["facts"][0]]
        assert (item["answer"], *item["aliases"]) == fact.answers
        assert world.questions(fact)[0] in item["context"]


def test_arithmetic_is_right_and_never_taught(benchmarks, write):
    asked = set()
    for _, item in items(benchmarks, "arithmetic"):
        assert calculate(item["context"]) == int(item["answer"])
        asked.add(operation_of(item["context"]))
    assert len(asked) == 600  # each once, over dev and test
    taught = set()
    for row in write(3000, bias=0, shares={"reasoning": 1})["reasoning"]:
        for text in turns(row)[0]:
            for found in re.findall(r"\d+ (?:[-+*]|plus|minus|times) \d+", text):
                taught.add(operation_of(found))
    assert len(taught) > 500
    assert not asked & taught


def operation_of(text):
    left, sign, right = re.search(r"(\d+) ([-+*]|plus|minus|times) (\d+)", text).groups()
    sign = {"plus": "+", "minus": "-", "times": "*"}.get(sign, sign)
    numbers = (int(left), int(right)) if sign == "-" else tuple(sorted((int(left), int(right))))
    return sign, *numbers


def test_format_answers_obey_the_letter(benchmarks, facts):
    for _, item in items(benchmarks, "format"):
        question = unframed(item["context"])
        content = facts[item["facts"][0]].value if item["facts"] else question.partition(": ")[2]
        assert item["answer"] == obey(question.removesuffix(content), content)[1]
        assert item["match"] == "exact"


def test_format_word_lists_are_never_taught(benchmarks, write):
    def words(prompt):
        return frozenset(prompt.partition(": ")[2].split())

    rows = write(3000, shares={"formatting": 1})["formatting"]
    taught = {words(unframed(turns(row)[0][0])) for row in rows if not row["facts"]}
    asked = {words(unframed(item["context"])) for _, item in items(benchmarks, "format") if not item["facts"]}
    assert len(taught) > 1000
    assert len(asked) > 250
    assert not asked & taught


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**63), st.integers(1, 50))
def test_any_seed_gives_the_same_items_again(seed, size):
    world = load_world()
    split = split_facts(world, seed)
    sizes = {"dev": size, "test": 2 * size}
    first = build_benchmarks(world, split, seed, sizes)
    assert first == build_benchmarks(world, split, seed, sizes)
    assert all(len(one) == size for one in first["dev"].values())


def test_a_task_is_smaller_where_the_facts_do_not_suffice(world, split):
    large = build_benchmarks(world, split, 0, {"dev": 5000, "test": 5000})
    assert len(large["test"]["world_exact"]) == len(split.test)
    assert 100 < len(large["test"]["arithmetic"]) < 5000


def test_a_benchmark_needs_items(world, split):
    with pytest.raises(ConfigError, match="dev: 0 items"):
        build_benchmarks(world, split, 0, {"dev": 0, "test": 10})
