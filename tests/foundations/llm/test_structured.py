"""JSON out of what models write, and what is said of it when there is none."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict

from dtm.foundations.llm.structured import Invalid, parse, strict


class Point(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int
    names: list[str]


TEXTS = [
    '{"x": 1, "names": ["a"]}', 'Sure:\n```json\n{"x": 1, "names": ["a"]}\n```\nDone.',
    'Here it is {"x": 1, "names": ["a"]} and more {"x": 2}',
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_the_first_json_counts(text):
    assert parse(Point, text) == Point(x=1, names=["a"])
    assert parse(Point.model_json_schema(), text) == {"x": 1, "names": ["a"]}


@pytest.mark.parametrize(("text", "finish", "reason"), [
    ("I cannot.", "stop", "there is no JSON"), ("I can", "length", "cut off at max_tokens"),
    ('{"x": 1, "names": ["a', "length", "the JSON is cut off at max_tokens"),
    ('{"x": 1,', "stop", "the JSON is cut off"),
    ("{x: 1} after", "stop", "the JSON is broken"), ('{"x": "one", "names": []}', "stop", "x: "),
    ('{"x": 1, "names": [], "y": 2}', "stop", "y: "), ("[" * 100_000, "stop", "nested|cut off"),
])  # fmt: skip
def test_reasons_for_people(text, finish, reason):
    with pytest.raises(Invalid, match=reason):
        parse(Point, text, finish)
    with pytest.raises(Invalid):
        parse(Point.model_json_schema(), text, finish)


def test_which_schemas_an_endpoint_can_hold_a_model_to_exactly():
    assert strict(Point.model_json_schema())
    assert not strict({"type": "object", "properties": {"x": {"type": "integer"}}})
    nested = {
        "type": "object",
        "additionalProperties": False,
        "required": ["p"],
        "properties": {"p": {"type": "object"}},
    }
    assert not strict(nested)
