"""demorecon and paraphrase on rows: families, validity, order, and what goes aside."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

import dtm.augment  # noqa: F401 - registers the methods
from dtm.augment.exporting import contrasts, export
from dtm.foundations.registry import registry
from dtm.foundations.types import SCHEMA, Examples, canonical_id
from dtm.testbed import load_world, split_facts
from dtm.testbed.sources import SOURCES
from dtm.testbed.sources.drafting import Ground, Habits


def examples(*rows):
    """Examples of (instruction, response), of one source each."""
    made = []
    for number, (instruction, response) in enumerate(rows):
        messages = [{"role": "system", "content": "Be exact."}, {"role": "user", "content": instruction},
                    {"role": "assistant", "content": response}]  # fmt: skip
        key = canonical_id(messages)
        made.append({"id": key, "source": f"s{number}", "messages": messages, "parent": None, "family": f"f-{key}",
                     "meta": "{}"})  # fmt: skip
    return Examples(pa.Table.from_pylist(made, SCHEMA))


def augment(rows, method="demorecon", seed=0, **settings):
    return registry("augment").bind(method, settings)(rows, None, seed)


def augment_by(rows, generate, **settings):
    """demorecon by whoever answers."""
    return registry("augment").bind("demorecon", settings)(rows, generate, 0)


BRACKETS = ("Name the capital of Peru in square brackets.", "[Lima]")


def test_a_variant_differs_in_one_constraint_and_belongs_to_its_family():
    rows = examples(BRACKETS)
    made = augment(rows, variants=2)
    (parent,) = rows.rows()
    assert len(made.rows) == 2
    assert made.seeds == 1
    for row in made.rows:
        assert (row["parent"], row["family"], row["source"]) == (parent["id"], parent["family"], "s0")
        assert row["id"] == canonical_id(row["messages"]) != parent["id"]
        assert row["messages"][0] == parent["messages"][0]
        told = json.loads(row["meta"])["augment"]
        asked, said = (message["content"] for message in row["messages"][1:])
        assert asked == BRACKETS[0].replace(told["old"], told["new"])
        assert "Lima" in said or said in ("LIMA", "lima")
        assert (told["old_follows"], told["new_follows"]) == (False, False)


def test_the_same_seed_gives_the_same_variants_whatever_stands_beside_a_row():
    alone = augment(examples(BRACKETS), variants=2).rows
    beside = augment(examples(BRACKETS, ("Name three fruits.", "fig, pear, plum")), variants=2).rows
    assert [row["id"] for row in alone] == [row["id"] for row in beside if row["source"] == "s0"]
    assert [row["id"] for row in alone] != [
        row["id"] for row in augment(examples(BRACKETS), seed=1, variants=2).rows
    ]


def test_what_cannot_be_used_goes_aside_with_its_reason():
    made = augment(examples(
        ("Name it in square brackets.", "It is Lima."), ("Answer in German.", "Die Katze schläft viel."),
        ("Name the number 7 in capital letters.", "7"), ("What is it?", "Lima"),
    ))  # fmt: skip
    assert made.rows == []
    assert made.reasons == {"the row's own response does not follow it (form)": 2,
                            "no rule can write its response (language)": 11}  # fmt: skip
    assert {one["source"] for one in made.invalid} == {"s0", "s1", "s2"}


def test_an_answer_that_breaks_another_constraint_is_not_used():
    two = ('Describe cats in two sentences and include the word "night".', "Cats sleep. They hunt at night.")
    made = augment(examples(two), variants=9)
    told = [json.loads(row["meta"])["augment"] for row in made.rows]
    assert told == []
    assert made.reasons == {"its response breaks another constraint (include)": 1,
                            "its response breaks another constraint (sentences)": 1}  # fmt: skip


def test_instructions_without_a_constraint_may_get_one():
    rows = examples(*((f"What is {n}?", f"It is {n}.") for n in range(40)))
    assert augment(rows).rows == []
    half = augment(rows, attach=0.5, variants=1)
    assert 10 < half.seeds < 30
    for row in half.rows:
        told = json.loads(row["meta"])["augment"]
        assert told["constraint"] == "attached"
        assert row["messages"][1]["content"].endswith(told["new"])
        assert (told["old_follows"], told["new_follows"]) == (False, True)


def test_sources_can_be_named():
    assert {row["source"] for row in augment(examples(BRACKETS, BRACKETS[::1]), sources=["s1"]).rows} <= {
        "s1"
    }


def test_paraphrases_ask_for_the_same():
    framed = (f"Question: {BRACKETS[0]}\nAnswer:", BRACKETS[1])
    made = augment(examples(BRACKETS, framed, ("What {is} it?", "x")), "paraphrase", variants=6)
    assert len(made.rows) == 12
    for row in made.rows:
        asked, said = (message["content"] for message in row["messages"][1:])
        assert BRACKETS[0] in asked
        assert said == "[Lima]"
        assert asked not in (BRACKETS[0], framed[0])
        if row["source"] == "s1":
            assert asked.startswith("Question: ")
            assert asked.endswith("\nAnswer:")


def test_exports_prefer_each_instructions_own_response(tmp_path):
    rows = examples(BRACKETS, ("What is 3?", "It is 3."))
    made = augment(rows, variants=1, attach=1.0)
    parents = {row["id"]: row for row in rows.rows()}
    export(parents, made.rows, tmp_path)
    sft, dpo, kto = ([json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
                     for name in ("sft", "dpo", "kto"))  # fmt: skip
    assert len(sft) == 4
    pairs = {
        (row["prompt"][-1]["content"], row["chosen"][0]["content"], row["rejected"][0]["content"])
        for row in dpo
    }
    (variant,) = [row for row in made.rows if row["source"] == "s0"]
    (attached,) = [row for row in made.rows if row["source"] == "s1"]
    asked, said = (message["content"] for message in variant["messages"][1:])
    more, formed = (message["content"] for message in attached["messages"][1:])
    assert pairs == {
        (*BRACKETS, said),
        (asked, said, BRACKETS[1]),
        (more, formed, "It is 3."),
    }  # x is content with y'
    assert len(list(contrasts(parents, made.rows))) == 3
    assert [row["label"] for row in kto] == [True] * 4 + [False] * 3
    assert {(row["prompt"][-1]["content"], row["completion"][0]["content"]) for row in kto if not row["label"]} == {
        (asked, rejected) for asked, _, rejected in pairs}  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
def test_every_form_of_the_testbed_is_understood(seed):
    """Of rows that the testbed wrote without habits, all have a variant, and its response is what the testbed wants."""
    from random import Random

    world, random = load_world(), Random(seed)
    ground = Ground(world, split_facts(world, seed).taught, seed)
    rows = []
    for _ in range(300):
        draft = SOURCES["formatting"].write(
            ground, random, Habits(0, Random(0)), SOURCES["formatting"].settings
        )
        rows.append([message["content"] for message in draft.fields["messages"][1:]])
    made = augment(examples(*rows), variants=1)
    assert made.reasons == {}
    asked = {row["messages"][-2]["content"] for row in made.rows}
    assert len(made.rows) >= 290  # two rows may have one variant in common
    for form in ("in square brackets", "between two stars", "as JSON with the key", "twice", "reverse order",
                 "in alphabetical order", "vertical bars", "the last word", "JSON list"):  # fmt: skip
        assert any(form in text for text in asked), form
