import re
from itertools import product

import pytest

from dtm.data.turns import ROLES, Unusable, conversation, turns_of

LETTERS = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
GRAMMAR = re.compile(r"s?(ua(t+a)*)*(u|uat+|ua(t+a)*t+)?")  # of whole conversations with an unfinished end


def said(letters):
    return [{"role": LETTERS[letter], "content": str(n)} for n, letter in enumerate(letters)]


@pytest.mark.parametrize("length", range(7))
def test_turns_are_taken_by_the_grammar(length):
    for letters in map("".join, product("suat", repeat=length)):
        check(letters)


def check(letters):
    turns = said(letters)
    if not GRAMMAR.fullmatch(letters):
        with pytest.raises(Unusable, match="roles do not alternate"):
            conversation(turns)
    elif "a" not in letters:
        with pytest.raises(Unusable, match="no answer"):
            conversation(turns)
    else:
        kept, cut = conversation(turns)
        assert kept + cut == turns
        assert kept[-1]["role"] == "assistant"
        assert all(turn["role"] != "assistant" for turn in cut)


def test_a_blank_system_turn_is_left_out():
    turns = [{"role": "system", "content": " \n"}, *said("ua")]
    assert conversation(turns) == (said("ua"), [])


@pytest.mark.parametrize(("role", "content", "reason"), [
    ("user", " ", "empty prompt"), ("assistant", "\n\t\u3000", "empty answer"), ("assistant", "a\0b", "NUL character"),
    ("user", "\ud800", "not valid Unicode"), ("assistant", "x\udfff", "not valid Unicode"),
])  # fmt: skip
def test_content_that_cannot_be_used(role, content, reason):
    turns = said("ua")
    turns["ua".index(role[0])]["content"] = content
    with pytest.raises(Unusable) as caught:
        conversation(turns)
    assert caught.value.reason == reason


def test_content_stays_exact_and_a_tool_may_say_nothing():
    turns = said("uata")
    turns[0]["content"] = " e\u0301 \u00e9 \U0001f600\r\n"
    turns[2]["content"] = ""
    assert conversation([dict(turn) for turn in turns]) == (turns, [])


@pytest.mark.parametrize(("name", "role"), sorted(ROLES.items()))
def test_role_names(name, role):
    assert turns_of([{"from": name.upper(), "value": "x"}], "c")[0] == [{"role": role, "content": "x"}]
    assert turns_of([{"role": name, "content": "x"}], "c")[0] == [{"role": role, "content": "x"}]


def test_content_parts_are_joined_as_they_are():
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert turns_of([{"role": "user", "content": parts}], "c")[0] == [{"role": "user", "content": "one two"}]


def test_what_else_a_turn_says_is_told():
    turns = [
        {"role": "user", "content": "x", "name": "Ann", "mood": None},
        {"role": "assistant", "content": "y"},
    ]
    assert turns_of(turns, "c")[1] == [{"name": "Ann"}, {}]


@pytest.mark.parametrize(("item", "reason"), [
    ("text", "wrong type"), ({}, "unknown role"), ({"role": "narrator", "content": "x"}, "unknown role"),
    ({"role": ["user"], "content": "x"}, "unknown role"), ({"role": "user", "content": 5}, "wrong type"),
    ({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, "not text"),
    ({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, "tool calls"),
    ({"role": "assistant", "content": "x", "weight": 0}, "turn without loss"),
])  # fmt: skip
def test_turns_that_cannot_be_used(item, reason):
    with pytest.raises(Unusable) as caught:
        turns_of([item], "messages")
    assert caught.value.reason == reason


@pytest.mark.parametrize("value", [None, "no list", "[1", {"role": "user"}, 3])
def test_what_is_no_list_of_turns(value):
    with pytest.raises(Unusable, match="wrong type"):
        turns_of(value, "messages")


def test_a_list_in_a_cell_of_text():
    assert turns_of('[{"from": "human", "value": "x"}]', "c")[0] == [{"role": "user", "content": "x"}]
