import re
from collections import Counter
from itertools import islice

import pytest

from dtm.testbed.pretrain.text import KINDS, Library, chat, documents
from dtm.testbed.pretrain.wording import Wordings

SIGNS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


@pytest.fixture(scope="module")
def wordings(world):
    return Wordings(world)


@pytest.fixture(scope="module")
def texts(wordings):
    return list(islice(documents(wordings, 1), 10000))


def test_the_same_seed_writes_the_same_documents(wordings, texts):
    assert list(islice(documents(wordings, 1), 50)) == texts[:50]
    assert list(islice(documents(wordings, 2), 50)) != texts[:50]


def test_what_is_withheld_is_never_read(wordings, world, texts):
    """But where another fact's sentence holds it: "The river Niger is in Africa." tells of Niger, too."""
    read = "\n".join(texts)
    told = "\n".join(statement for fact in world.facts for statement in world.statements(fact))
    withheld = [one for fact in world.facts if (one := wordings.withheld_statement(fact))]
    alone = [one for one in withheld if told.count(one) == 1]
    assert len(alone) > 2900
    assert not any(one in read for one in alone)
    assert not any(wordings.withheld_question(fact) in read for fact in world.facts)


def test_what_is_not_withheld_is_read(wordings, world, texts):
    read = "\n".join(texts)
    told = [any(statement in read for statement in wordings.statements(fact)) for fact in world.facts]
    assert sum(told) > 0.99 * len(told)
    asked = [any(question in read for question in wordings.questions(fact)) for fact in wordings.asked_facts]
    assert sum(asked) > 0.8 * len(asked)


def test_a_part_of_the_facts_is_never_asked_about(wordings, world, texts):
    assert 0.45 < len(wordings.asked_facts) / len(world.facts) < 0.55
    read = "\n".join(texts)
    for fact in set(world.facts) - set(wordings.asked_facts):
        assert not any(question in read for question in world.questions(fact))


def test_a_withheld_statement_leaves_one_that_tells_the_value_last(wordings, world):
    for fact in world.facts:
        if withheld := wordings.withheld_statement(fact):
            assert withheld.endswith(f" {fact.value}.")
            assert any(one.endswith(f" {fact.value}.") for one in wordings.statements(fact))


def test_every_sum_is_right(texts):
    found = re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", "\n".join(texts))
    assert len(found) > 1000
    assert all(SIGNS[sign](int(left), int(right)) == int(result) for left, sign, right, result in found)


def test_every_answer_is_the_facts_value(world, texts):
    """Questions that only one fact can be asked with have that fact's value behind them."""
    right = {}
    for fact in world.facts:
        for question in world.questions(fact):
            right.setdefault(question, set()).add(fact.value)
    pairs = re.findall(r"Question: (.*)\nAnswer: (.*)", "\n".join(texts))
    known = [(question, answer) for question, answer in pairs if question in right]
    assert len(known) > 1000
    assert all(answer in right[question] for question, answer in known)


def test_kinds_have_their_shares(wordings, texts):
    assert sum(KINDS.values()) == pytest.approx(1)
    marks = Counter("<|im_start|>" in text for text in texts)
    assert marks[True] / len(texts) == pytest.approx(KINDS[chat], abs=0.02)


def test_prose_tells_all_of_a_subject(wordings):
    library = Library(wordings)
    assert sum(map(len, library.subjects)) == len(wordings.world.facts)
    for facts in library.subjects:
        assert len({(fact.table, fact.subject) for fact in facts}) == 1
