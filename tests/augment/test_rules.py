"""Constraints found in instructions as people write them, exchanged, and checked by other means than the rules' own."""

from __future__ import annotations

import json
import re

import pytest

from dtm.augment.rules.constraints import find
from dtm.foundations.instructions import bind, followed

THREE = "Cats sleep a lot. They hunt at night. People like them."
BULLETS = "Here you are:\n- apples\n- pears\n- plums"

# instruction, a response that follows it, the rule, and some (new words, new response) that must be among the variants
CASES = [
    ("Write the capital of Peru in capital letters.", "LIMA", "form", [("in small letters", "lima")]),
    ("write it IN ALL CAPS please", "YES", "form", [("In small letters", "yes")]),
    ("Name it in square brackets.", "[Lima]", "form",
     [("between two stars", "*Lima*"), ('as JSON with the key "answer"', '{"answer": "Lima"}'),
      ("twice, with a slash between", "Lima/Lima")]),
    ('Give it as JSON with the key "name".', '{"name": "Lima"}', "form",
     [('as JSON with the key "result"', '{"result": "Lima"}'), ("in parentheses", "(Lima)")]),
    ("Wrap your entire response with double quotation marks.", '"All of it."', "form",
     [("in square brackets", "[All of it.]")]),
    ("Sort the following words alphabetically: pear, apple, fig", "apple fig pear", "word_list",
     [("Write these words in reverse order", "fig apple pear"),
      ("Join these words with vertical bars", "pear|apple|fig")]),
    ("Write exactly the first 2 words of: one two three four", "one two", "word_list",
     [("Write exactly the first 3 words of", "one two three"), ("Write exactly the last word of", "four")]),
    ("Describe cats in three sentences.", THREE, "sentences",
     [("in two sentences", "Cats sleep a lot. They hunt at night."), ("in one sentence", "Cats sleep a lot.")]),
    ("List 3 fruits.", BULLETS, "entries", [("2", "Here you are:\n- apples\n- pears")]),
    ("Name three fruits.", "apples, pears, plums", "entries", [("two", "apples, pears")]),
    ("Explain it in at least 8 words.", THREE, "words", [("at most 7 words", "Cats sleep a lot.")]),
    ("Explain it in no more than 20 words.", THREE, "words",
     [("at most 10 words", "Cats sleep a lot. They hunt at night.")]),
    ('Write about cats and include the word "night".', THREE, "include",
     [('do not use the word "night"', "Cats sleep a lot. People like them.")]),
    ('Write about cats. Do not use the word "dog".', THREE, "exclude",
     [('Do not use the word "night"', "Cats sleep a lot. People like them.")]),
    ('Say no. End your response with the exact phrase "Good bye."', "No. Good bye.", "ending",
     [("That is all.", "No. That is all.")]),
    ('Start with "Well," and go on.', "Well, it rains.", "beginning", [("Certainly.", "Certainly. it rains.")]),
    ("At the end add a postscript starting with P.S.", "Bye.\nP.S. Write soon.", "postscript",
     [("P.P.S.", "Bye.\nP.P.S. Write soon.")]),
    ("Give them as a bulleted list.", BULLETS, "list_style",
     [("as a numbered list", "Here you are:\n1. apples\n2. pears\n3. plums")]),
    ("Name fruits, separated by commas.", "apples, pears, plums", "separator",
     [("separated by semicolons", "apples; pears; plums"), ("one on each line", "apples\npears\nplums")]),
    ("Answer in French.", "Le chat dort beaucoup et il chasse la nuit.", "language", [("German", None)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("instruction", "response", "rule", "wanted"), CASES, ids=[case[0][:40] for case in CASES]
)
def test_a_constraint_is_found_and_others_stand_in_its_place(instruction, response, rule, wanted):
    (one,) = [one for one in find(instruction) if one.rule == rule]
    assert one.follows(response)
    others = list(one.others(response))
    found = {other.text: other.response for other in others}
    for text, expected in wanted:
        assert found[text] == expected
    for other in others:
        if other.response is not None and other.response != response:
            assert other.follows(other.response)
            assert other.text.lower() not in instruction.lower() or rule == "postscript"


@pytest.mark.parametrize(
    "instruction",
    [
        "What is the capital of Peru?", "It happened in three days.", "Write a poem.", "List the planets.",
        "In French history, who was Danton?", "Tell me about the word processor.", "He said 'in capital cities'.",
    ],
)  # fmt: skip
def test_nothing_is_found_where_nothing_is_asked(instruction):
    assert find(instruction) == []


def test_of_two_that_overlap_the_longer_one_counts():
    (one,) = find("Write these words in capital letters: fig pear")
    assert one.rule == "word_list"


def test_several_constraints_stand_in_their_order():
    found = find('In two sentences, include the word "cat". Answer in small letters.')
    assert [one.rule for one in found] == ["sentences", "include", "form"]


@pytest.mark.parametrize(
    ("instruction", "response", "check"),
    [
        ("Describe cats in three sentences.", THREE,
         lambda text, said: bind("length_constraints:number_sentences",
                                 {"num_sentences": {"two": 3, "one": 2}[re.search("one|two", text)[0]],
                                  "relation": "less than"})),
        ("Use no more than 20 words.", THREE,
         lambda text, said: bind("length_constraints:number_words",
                                 {"num_words": int(re.search(r"\d+", text)[0]) + 1, "relation": "less than"})),
        ('Include the word "night".', THREE,
         lambda text, said: bind("keywords:forbidden_words", {"forbidden_words": ["night"]})),
        ('End with "Bye."', "No. Bye.", lambda text, said: bind("startend:end_checker", {"end_phrase": text})),
        ("Give it in square brackets.", "[Lima]",
         lambda text, said: bind("detectable_format:json_format", {}) if "JSON" in text else None),
        ("Give it in square brackets.", "[Lima]",
         lambda text, said: bind("startend:quotation", {}) if "quotation" in text else None),
    ],
)  # fmt: skip
def test_new_responses_pass_ifevals_own_checks(instruction, response, check):
    (one,) = find(instruction)
    checked = 0
    for other in one.others(response):
        wanted = check(other.text, other.response)
        if wanted is not None:
            checked += 1
            assert followed(wanted, other.response)
            assert not one.follows(other.response) or one.rule == "words"  # a lower limit contradicts nothing
    assert checked


def test_a_text_that_only_looks_like_the_form_does_not_follow_it():
    (brackets,) = find("Give it in square brackets.")
    assert not brackets.follows("[a] and [b]")
    assert not brackets.follows("It is [Lima].")
    (as_json,) = find('Give it as JSON with the key "answer".')
    for text in ('{"answer": 3}', '{"answer": "x", "more": "y"}', '{"other": "x"}', '{"answer":"x"}', "x"):
        assert not as_json.follows(text)
    assert as_json.follows(json.dumps({"answer": "x"}))
