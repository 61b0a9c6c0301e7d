"""Pair rules on answers written by hand."""

from __future__ import annotations

import pytest

from dtm.foundations.registry import registry
from dtm.train.pairs.answers import Answer, Question, likeness


def answer(text, right=False, **more):
    return Answer(text, tuple(text.encode()), right, **more)


GOLD = answer("two and two make four", True, gold=True)
RULE = registry("pair")


def texts(paired):
    return [(chosen.text, rejected.text) for chosen, rejected in paired.pairs]


@pytest.mark.parametrize(
    ("one", "other", "like"),
    [("a b c", "b c d", 0.5), ("A, b", "a b", 2 / 3), ("", "", 1.0), ("x", "", 0.0), ("7 - 2", "7 + 2", 0.5)],
)
def test_likeness_is_jaccard_of_words_and_signs(one, other, like):
    assert likeness(one, other) == pytest.approx(like)


def test_right_paths_and_the_gold_one_against_wrong_ones_least_alike_first():
    paths = (answer("it is four", True), answer("two and two make five"), answer("no idea"), answer("seven"))
    found = RULE.bind("correct_vs_wrong", {"keep": 3})(Question(GOLD, paths))
    assert texts(found) == [
        (GOLD.text, "no idea"),
        (GOLD.text, "seven"),
        ("it is four", "two and two make five"),
    ]
    every = RULE.bind("correct_vs_wrong", {"keep": 99})(Question(GOLD, paths))
    assert len(every.pairs) == 6
    assert found.near == 0


def test_near_duplicates_are_dropped_on_either_side():
    paths = (answer("Two and two make four.", True), answer("no idea at all"), answer("no idea at all!"))
    found = RULE.bind("correct_vs_wrong")(Question(GOLD, paths))
    assert texts(found) == [(GOLD.text, "no idea at all")]
    assert found.near == 2
    loose = RULE.bind("correct_vs_wrong", {"near": 1.0})(Question(GOLD, paths))
    assert len(loose.pairs) == 3
    assert loose.near == 0


def test_a_question_without_a_wrong_path_gives_none():
    found = RULE.bind("correct_vs_wrong")(Question(GOLD, (answer("it is four", True),)))
    assert (found.pairs, found.reason) == ((), "no wrong path")


def test_chains_of_thought_against_direct_answers():
    paths, direct = (answer("I count: four", True), answer("five")), (answer("4", True), answer("9"))
    rule = RULE.bind("cot_vs_direct")
    assert texts(rule(Question(GOLD, paths, direct))) == [("I count: four", "4"), ("I count: four", "9")]
    assert texts(rule(Question(GOLD, paths[1:], direct[:1]))) == [(GOLD.text, "4")]
    same = rule(Question(GOLD, paths[:1], (paths[0],)))
    assert same.reason == "direct answers say the same"
    assert RULE["cot_vs_direct"].needs == ("direct",)
