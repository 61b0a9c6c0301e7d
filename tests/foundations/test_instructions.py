"""Every type of IFEval's instructions on responses made by hand: those that follow it, and those that do not."""

from __future__ import annotations

import pytest

from dtm.foundations.errors import ConfigError, MethodError
from dtm.foundations.instructions import bind, followed, followed_loosely
from dtm.foundations.instructions.words import parts, sentences, words
from dtm.foundations.registry import registry

ENGLISH = "the river runs through the old town and the people like to walk along it in the evening"
FRENCH = "La rivière traverse la vieille ville et les gens aiment se promener le soir au bord de l'eau."
CASES = [  # instruction, settings, responses that follow it, responses that do not
    ("keywords:existence", {"keywords": ["Mom", "cat"]}, ["My mom has cats"], ["My mom", ""]),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "at least"}, ["War and wars"], ["war"]),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "less than"}, ["war"], ["war, war"]),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, ["a rocket"], ["Rock!", "a rock."]),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 2, "let_relation": "at least"}, ["a! b!"], ["a!"]),
    ("keywords:letter_frequency", {"letter": "t", "let_frequency": 2, "let_relation": "less than"}, ["To"], ["That"]),
    ("language:response_language", {"language": "fr"}, [FRENCH, "123"], [ENGLISH]),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"},
     ["THE END is near", "U.S. and UK", "NASA's and the USA's", "I CAN'T"], ["THE end", "Title Case Words", "AND/OR"]),
    ("change_case:capital_word_frequency", {"capital_frequency": 1, "capital_relation": "less than"}, ["none"], ["NO"]),
    ("change_case:english_capital", {}, [ENGLISH.upper()], [ENGLISH, FRENCH.upper(), ENGLISH.upper() + "x"]),
    ("change_case:english_lowercase", {}, [ENGLISH], [ENGLISH.title(), FRENCH.lower()]),
    ("punctuation:no_comma", {}, ["one; two"], ["one, two"]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, ["one two, three"], ["one two"]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, ["one two"], ["one two three"]),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"},
     ["Yes. Really!", "Dr. Who came. He left."], ["Dr. Who came", "It is 3.5 m."]),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, ["One"], ["One. Two."]),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, ["a\n***\nb", "a *** b ***"],
     ["a\n\nb", "a *** *** b", "a *** b *** c"]),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
     ["a\n\nThen, b", 'a\n\n"Then" b', "a\n\n'then' b"],
     ["a\n\nb", "then\n\nb\n\nthen", "a\n\nthenceforth", "a\n\n**Then** b", "a\n\nThen: b", "a\n\n\n\nThen b"]),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[name] at [date]"], ["[name]", "[a\nb] [c]"]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, ["Bye\nP.S. more", "p. s. more"], ["PS more"]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["Bye\nP.P.S more"], ["Bye\nP.S. more"]),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, ["* a\n* b", "x\n - a\n- b"],
     ["* a", "* a\n* b\n* c", "**a**\n* b"]),
    ("detectable_format:constrained_response", {}, ["My answer is maybe."], ["maybe", "my answer is yes."]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2},
     ["*a b* and *c*", "**a** and *c*", "***a***", "* **a:** b"],
     ["*a*", "**a**", "* a\n* b", "** ** and * *"]),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2},
     ["SECTION 1\na\nSECTION 2\nb"], ["SECTION 1\na", "Section 1 Section 2"]),
    ("detectable_format:json_format", {}, ['{"a": 1}', '```json\n{"a": [1, 2]}\n```', "```\n[]\n```"], 
     ["{a: 1}", "text"]),
    ("detectable_format:title", {}, ["<<A title>>\ntext"], ["<A title>", "<<>>", "<< >>", "<<A\ntitle>>"]),
    ("combination:two_responses", {}, ["one\n******\ntwo"], ["one", "one ****** one", "a******b******c"]),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Write a poem."}, [" write a poem. Roses"], ["Roses"]),
    ("startend:end_checker", {"end_phrase": "Any questions?"}, ["Done. any questions?", '"Any questions?"'],
     ["Any questions? No."]),
    ("startend:quotation", {}, ['"all of it"'], ['"half', '"', "'single'"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "good", "bad"), CASES, ids=lambda value: str(value)[:40])
def test_instruction(name, settings, good, bad):
    check = bind(name, settings)
    assert [one for one in good if not followed(check, one)] == []
    assert [one for one in bad if followed(check, one)] == []


def test_every_instruction_has_its_case():
    assert {name for name, *_ in CASES} == set(registry("instruction"))
    assert len(registry("instruction")) == 25


def test_loosely_talk_around_a_response_does_not_count():
    upper = bind("change_case:english_capital", {})
    said = f"Sure, here it is:\n{ENGLISH.upper()}\nHope this helps!"
    assert not followed(upper, said)
    assert followed_loosely(upper, said)
    quoted = bind("startend:quotation", {})
    assert followed_loosely(quoted, '**"bold"**')
    assert not followed(quoted, '**"bold"**')
    assert not followed_loosely(quoted, "no quotes\nat all\nhere")
    assert not followed_loosely(bind("punctuation:no_comma", {}), "")


def test_settings_that_are_null_count_as_absent_and_wrong_ones_are_errors():
    assert bind("punctuation:no_comma", {"num_words": None}).settings == {}
    with pytest.raises(MethodError, match="Did you mean 'punctuation:no_comma'"):
        bind("punctuation:no_commas", {})
    with pytest.raises(ConfigError, match="relation"):
        bind("length_constraints:number_words", {"num_words": 3, "relation": "more than"})


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("No end", 1),
        ("Mr. and Mrs. Smith met J. R. Jones. They talked, e.g. about maths.", 2),
        ("It costs 3.50 dollars. Really?! Yes...", 3),
        ('He said "Stop." Then he left.', 2),
        ("1. First\n2. Second", 1),
        ("A title\n\nA sentence. Another one", 3),
        ("これは文です。次の文です。", 2),
    ],
)
def test_sentences(text, count):
    assert len(sentences(text)) == count


def test_words_and_parts():
    assert words("don't stop-now, 3 x_1") == ["don", "t", "stop", "now", "3", "x_1"]
    assert parts("a | b |", r"\|") == ["a ", " b "]
    assert parts("a || b", r"\|") is None
