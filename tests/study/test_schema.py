"""study.json against its documented schema, by a peer's validator as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtm.foundations.errors import DataError
from dtm.study.schema import StudyResults, documentation, validated
from tests.study.made import made

DOCS = Path(__file__).parents[2] / "docs" / "study.md"


def test_results_follow_the_schema():
    results = made(arms=3, resamples=20)
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    schema = StudyResults.model_json_schema()
    validator.check_schema(schema)
    validator(schema).validate(results)
    with pytest.raises(DataError, match=r"study\.json: .*arms\.1\.tokens"):
        validated({**results, "arms": [results["arms"][0], {**results["arms"][1], "tokens": "many"}]})
    with pytest.raises(DataError, match="stray"):
        validated({**results, "stray": 1})


def test_every_field_is_documented():
    assert documentation() in DOCS.read_text(encoding="utf-8")
