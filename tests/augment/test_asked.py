"""Variants by a language model: what is asked, and what becomes of each kind of answer."""

from __future__ import annotations

import json

from dtm.augment.asked import Answered, Changed, Varied
from dtm.augment.exporting import contrasts
from dtm.foundations.llm import Reply
from tests.augment.test_methods import augment_by, examples


def varied(*variants):
    return Reply("", Varied(parts=[], variants=list(variants)))


def answered(response, old=False, new=False):
    return Reply("", Answered(response=response, old_follows=old, new_follows=new))


FIRST = Changed(old="two", new="three", instruction="Name three fruits.", valid=True)
SECOND = Changed(old="fruits", new="moons", instruction="Name two moons.", valid=True)


def test_two_questions_are_asked_and_valid_answers_become_rows():
    asked = []

    def generate(requests):
        asked.append(requests)
        if requests[0].task == "vary":
            return [varied(FIRST, SECOND)]
        return [answered("fig, pear, plum", old=True), answered("Io, Titan")]

    rows = examples(("Name two fruits.", "fig, pear"))
    made = augment_by(rows, generate, by="llm", variants=2)
    assert [request.task for requests in asked for request in requests] == ["vary", "respond", "respond"]
    assert "write 2 variants" in asked[0][0].messages[0]["content"]
    assert "Edit the old response no more" in asked[1][0].messages[0]["content"]
    assert asked[1][1].inputs["changed"] == "Name two moons."
    assert [row["messages"][-1]["content"] for row in made.rows] == ["fig, pear, plum", "Io, Titan"]
    parents = {row["id"]: row for row in rows.rows()}
    told = {
        (a["messages"][-2]["content"], b["messages"][-2]["content"])
        for a, b, _ in contrasts(parents, made.rows)
    }
    assert told == {("Name two fruits.", "Name three fruits."), ("Name two fruits.", "Name two moons."),
                    ("Name two moons.", "Name two fruits.")}  # fmt: skip
    assert json.loads(made.rows[0]["meta"])["augment"]["new"] == "three"


def test_responses_may_be_written_afresh():
    asked = []

    def generate(requests):
        asked.append(requests)
        return [varied(FIRST)] if requests[0].task == "vary" else [answered("x")]

    augment_by(examples(("Name two fruits.", "fig, pear")), generate, by="llm", response="fresh")
    assert asked[1][0].messages[0]["content"].startswith("Answer the new instruction.")


def test_what_cannot_be_used_goes_aside_with_its_reason():
    rows = examples(("Name two fruits.", "fig, pear"), ("Name a moon.", "Io"))
    invalid = FIRST.model_copy(update={"valid": False})
    same = FIRST.model_copy(update={"instruction": "Name two fruits."})

    def generate(requests):
        if requests and requests[0].task == "vary":
            return [varied(invalid, same, FIRST, SECOND), Reply("{", failure="no JSON")]
        return [answered("fig, pear"), Reply("", failure="timed out")]

    made = augment_by(rows, generate, by="llm", variants=4)
    assert made.rows == []
    assert made.seeds == 0
    assert made.reasons == {
        "it is the old instruction": 1, "its response is the old one": 1, "not answered: timed out": 1,
        "not taken apart: no JSON": 1, "the model calls it invalid": 1,
    }  # fmt: skip
